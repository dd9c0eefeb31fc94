"""Recall and NDCG of the full ranking against a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.labels.recommendation import CUTOFF, ranking_scores


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60))
def test_equals_a_plain_loop(seed: int, items: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.permutation(6 * items).reshape(6, items).astype(np.float64)
    wanted, known = generator.random((2, 6, items)) < 0.2
    known &= ~wanted
    recalls, gains = [], []
    for user in range(6):
        right = set(np.flatnonzero(wanted[user]).tolist())
        if not right:
            continue
        ranked = [i for i in np.argsort(-scores[user]).tolist() if not known[user, i]][:CUTOFF]
        recalls.append(len(right & set(ranked)) / len(right))
        gain = sum(1 / math.log2(place + 2) for place, item in enumerate(ranked) if item in right)
        gains.append(gain / sum(1 / math.log2(place + 2) for place in range(min(len(right), CUTOFF))))
    found = ranking_scores(sp.csr_matrix(known), sp.csr_matrix(wanted), lambda users: scores[users])
    if not recalls:
        assert all(map(math.isnan, found.values()))
        return
    assert found == pytest.approx({"recall@20": np.mean(recalls), "ndcg@20": np.mean(gains)})

"""Negative graph embeddings: the permutations of dimensions against the slow reference."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from distgnn.objectives.l2p.dimensions import shifted_dimensions
from tests.helpers.oracle import shifted

KEYS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=2)
IDS = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4)


@given(keys=KEYS, ids=IDS, width=st.integers(2, 70))
def test_equals_the_slow_reference(keys: list[int], ids: list[int], width: int) -> None:
    found = shifted_dimensions(keys, torch.tensor(ids), width)
    assert found.tolist() == [[shifted(side, number, width) for number in ids] for side in keys]

"""Metrics and the paired test against answers known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distgnn.labels.scores import defined, holm, paired_interval, paired_p_value, score

NAN = math.nan


def test_roc_auc_averages_labels_with_both_classes() -> None:
    y = np.array([[0, 1, NAN, 1], [0, 0, NAN, 1], [1, NAN, NAN, 1], [1, 1, NAN, 1]], dtype=np.float32)
    scores = np.array([[0.1, 0.2, 9, 1], [0.4, 0.5, 9, 2], [0.35, 9, 9, 3], [0.8, 0.9, 9, 4]], dtype=np.float32)
    assert defined("classification", y).tolist() == [True, True, False, False]
    found = score("classification", y, scores)
    assert found.value == pytest.approx((0.75 + 0.5) / 2)
    assert found.coverage == 0.5


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.integers(0, 5)), min_size=2, max_size=30))
def test_roc_auc_is_the_share_of_ordered_pairs(rows: list[tuple[float, int]]) -> None:
    y, scores = np.array(rows, dtype=np.float64).T[:, :, None]
    if not defined("classification", y)[0]:
        return
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[y == 1] for n in scores[y == 0]]
    assert score("classification", y, scores).value == pytest.approx(np.mean(pairs))


def test_micro_f1_is_accuracy_for_one_label() -> None:
    y = np.array([[0], [1], [2], [NAN], [2]], dtype=np.float32)
    found = score("multiclass", y, np.array([[0], [2], [2], [1], [2]], dtype=np.float32))
    assert found == (0.75, 1.0)


def test_rmse_is_per_label_in_its_own_units() -> None:
    y = np.array([[1.0, 100.0, NAN], [3.0, NAN, NAN]], dtype=np.float32)
    found = score("regression", y, np.array([[2.0, 110.0, 0.0], [2.0, 0.0, 0.0]], dtype=np.float32))
    assert found.value == pytest.approx((1.0 + 10.0) / 2)
    assert found.coverage == pytest.approx(2 / 3)


def test_paired_p_value() -> None:
    """Differences 1, 2, 3: t = 2 / (1 / sqrt 3) = 3.4641 with 2 degrees of freedom, p = 0.0742."""
    assert paired_p_value([2, 4, 6], [1, 2, 3]) == pytest.approx(0.0742, abs=1e-4)
    assert paired_interval([2, 4, 6], [1, 2, 3]) == pytest.approx(
        (2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5)
    )  # sd 1, t of 2


@pytest.mark.parametrize("pair", [([0.7], [0.6]), ([0.7, 0.7], [0.7, 0.7]), ([0.8, 0.9, 1.0], [0.7, 0.8, 0.9])])
def test_no_p_value_without_spread(pair: tuple[list[float], list[float]]) -> None:
    assert paired_p_value(*pair) is None
    assert paired_interval(*pair) is None


def test_holm() -> None:
    """The p-values 0.005, 0.01, 0.03, 0.04 become 0.02, 0.03, 0.06, 0.06; a missing one is not counted."""
    assert holm([0.01, None, 0.04, 0.03, 0.005]) == [
        pytest.approx(0.03),
        None,
        *(pytest.approx(p) for p in (0.06, 0.06, 0.02)),
    ]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []

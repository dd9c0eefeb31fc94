"""Influence of rows on scores, against answers by hand, leaving rows out, and the bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distgnn.labels.influence import on_auc, on_mean, on_rmse, on_score, standard_error
from distgnn.labels.scores import Task, score

NAN = math.nan


def test_auc_by_hand() -> None:
    """DeLong: below the positives are 1, 1/2 and 1 of the 2 negatives, above the negatives 3/3 and 2/3 of the positives."""
    labels, scores = np.array([1, 1, 1, 0, 0]), np.array([5.0, 2.0, 4.0, 1.0, 3.0])
    found = on_auc(labels, scores)
    auc = 5 / 6
    assert found == pytest.approx(
        [5 / 3 * (1 - auc), 5 / 3 * (0.5 - auc), 5 / 3 * (1 - auc), 5 / 2 * (1 - auc), 5 / 2 * (2 / 3 - auc)]
    )
    variance = np.var([1, 0.5, 1]) / 3 + np.var([1, 2 / 3]) / 2
    assert standard_error(found) == pytest.approx(variance**0.5)


def test_ties_count_half_and_a_single_class_has_no_influence() -> None:
    assert on_auc(np.array([1, 0, 0]), np.array([1.0, 1.0, 0.0])) == pytest.approx([0, 1.5 * -0.25, 1.5 * 0.25])
    assert not on_auc(np.ones(3, np.int64), np.arange(3.0)).any()
    assert standard_error(np.zeros(0)) == 0


def test_mean_by_hand() -> None:
    found = on_mean(np.array([True, False, False, True]))
    assert found.tolist() == [0.5, -0.5, -0.5, 0.5]
    assert standard_error(found) == 0.25  # sqrt(1/2 * 1/2 / 4)


def test_rmse_by_hand() -> None:
    """Squares 1 and 9: the root of their mean is sqrt 5."""
    assert on_rmse(np.array([1.0, 3.0]), np.zeros(2)) == pytest.approx([-4 / (2 * 5**0.5), 4 / (2 * 5**0.5)])
    assert not on_rmse(np.ones(2), np.ones(2)).any()


@pytest.mark.parametrize("task", ["classification", "multiclass", "regression"])
def test_paired_standard_error_is_that_of_the_bootstrap(task: Task) -> None:
    """Of two predictions with common errors, with unknown labels and one column without both classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (300, 3)).astype(np.float64) if task != "regression" else rng.normal(size=(300, 3))
    y[rng.random(y.shape) < 0.3] = NAN
    y[:, 2] = np.where(np.isnan(y[:, 2]), NAN, 1) if task == "classification" else y[:, 2]
    common = np.nan_to_num(y, nan=0.0) + rng.normal(size=y.shape)
    one, other = (common + size * rng.normal(size=y.shape) for size in (0.3, 0.6))
    if task == "multiclass":
        y, one, other = y[:, :1], (one[:, :1] > 0.5).astype(float), (other[:, :1] > 0.5).astype(float)
    found = standard_error(on_score(task, y, one) - on_score(task, y, other))
    draws = []
    for _ in range(200):
        rows = rng.integers(0, len(y), len(y))
        draws.append(score(task, y[rows], one[rows]).value - score(task, y[rows], other[rows]).value)
    assert found == pytest.approx(np.std(draws), rel=0.15)
    assert found < 0.9 * np.hypot(standard_error(on_score(task, y, one)), standard_error(on_score(task, y, other)))

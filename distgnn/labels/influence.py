"""Influence of every row on a score: standard errors of scores, and of differences of scores on the same rows.

The influence of a row is what it adds to the score, to first order: the sum of the influences is 0, and the sum of their squares
divided by the squared number of rows is the sampling variance of the score (the infinitesimal jackknife: Efron, "The jackknife,
the bootstrap and other resampling plans", 1982). For ROC-AUC this is the estimate of DeLong, DeLong and Clarke-Pearson
("Comparing the areas under two or more correlated receiver operating characteristic curves", Biometrics 44, 1988), but for factors
n / (n - 1). The influences on a difference of two scores are the differences of the influences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from distgnn.labels.scores import Floats, Task, defined

Influence = npt.NDArray[np.float64]


def on_mean(values: npt.NDArray[Any]) -> Influence:
    """Return the influences [n] on the mean of ``values`` [n], such as accuracy."""
    found = np.asarray(values, np.float64)
    return found - found.mean() if len(found) else found


def on_auc(labels: npt.NDArray[Any], scores: Floats) -> Influence:
    """Return the influences on the ROC-AUC of rows with labels 0 and 1; zeros if it is undefined.

    Shape:
        labels, scores, returns: [n].
    """
    found, positive = np.zeros(len(labels)), labels == 1
    ones = int(positive.sum())
    zeros = len(labels) - ones
    if not ones or not zeros:
        return found
    ranks = rankdata(scores)
    below = (ranks[positive] - rankdata(scores[positive])) / zeros  # share of the negatives below each positive
    above = 1 - (ranks[~positive] - rankdata(scores[~positive])) / ones  # share of the positives above each negative
    found[positive] = on_mean(below) * len(labels) / ones
    found[~positive] = on_mean(above) * len(labels) / zeros
    return found


def on_rmse(truth: Floats, prediction: Floats) -> Influence:
    """Return the influences [n] on the root mean squared error."""
    squares = (truth.astype(np.float64) - prediction) ** 2
    root = np.sqrt(squares.mean())
    return on_mean(squares) / (2 * root) if root > 0 else np.zeros(len(squares))


def on_score(task: Task, y: Floats, prediction: Floats) -> Influence:
    """Return the influences [G] on :func:`distgnn.labels.scores.score`; the arguments are the same."""
    columns = np.flatnonzero(defined(task, y))
    found = np.zeros((len(y), len(columns)))
    for place, column in enumerate(columns):
        known = ~np.isnan(y[:, column])
        truth, guess = y[known, column], prediction[known, column]
        scale = len(y) / known.sum()  # the other rows do not count
        if task == "classification":
            found[known, place] = scale * on_auc(truth, guess)
        elif task == "multiclass":
            found[known, place] = scale * on_mean(truth.astype(np.int64) == guess.astype(np.int64))
        else:
            found[known, place] = scale * on_rmse(truth, guess)
    return found.mean(axis=1)


def standard_error(influence: npt.NDArray[np.floating[Any]]) -> float:
    """Return the standard error of a score with the influences [n]."""
    return float(np.sqrt(np.square(influence, dtype=np.float64).sum()) / max(len(influence), 1))

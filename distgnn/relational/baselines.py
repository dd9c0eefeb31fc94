"""Baselines of the same evidence and the same labels: forest, logistic or ridge regression, gradient boosting.

Binary labels and numbers are predicted as [queries], one of several classes as [queries, classes], in the order of its labels.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeCV

from distgnn.relational.episodes import TaskData
from distgnn.relational.median import conditional_median
from distgnn.relational.scores import constant

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
_TREES = 150
_STRENGTHS: Any = (0.001, 0.01, 0.1, 1.0)
_PENALTIES = np.logspace(0, 4, 9)


def forest_and_linear(data: TaskData, context: Int, queries: Int, seed: int) -> dict[str, Float]:
    """Predictions of a random forest, of logistic (or ridge) regression on ranks with inner cross-validation, and their mean.

    Numbers are conditional medians, as those of the model: by the out-of-bag predictions of the forest, and by those of ridge
    regression without each label.
    """
    labels = data.rows.label[context]
    if np.unique(labels).size < 2:
        return dict.fromkeys(("forest", "linear", "forest + linear"), constant(data, context, queries.size).values)
    x, q = ranks(data, context), ranks(data, queries)
    if data.kind != "regression":
        forest: Any = RandomForestClassifier(_TREES, min_samples_leaf=2, random_state=seed).fit(x, labels)
        found = tuple(_probabilities(data, one, q) for one in (forest, _logistic(x, labels)))
    else:
        found = _forest_median(x, labels, q, seed), _ridge_median(x, labels, q)
    return {"forest": found[0], "linear": found[1], "forest + linear": (found[0] + found[1]) / 2}


def _forest_median(x: Float, labels: Float, q: Float, seed: int) -> Float:
    forest: Any = RandomForestRegressor(_TREES, min_samples_leaf=2, random_state=seed, oob_score=True).fit(x, labels)
    return conditional_median(forest.predict(q), forest.oob_prediction_, labels)


def _ridge_median(x: Float, labels: Float, q: Float) -> Float:
    ridge: Any = RidgeCV(_PENALTIES, scoring="neg_mean_squared_error", store_cv_results=True).fit(x, labels)
    left_out = ridge.cv_results_[:, np.flatnonzero(ridge.alpha_ == _PENALTIES)[0]]
    return conditional_median(ridge.predict(q), left_out, labels)


def _probabilities(data: TaskData, fitted: Any, q: npt.NDArray[Any]) -> Float:
    found = fitted.predict_proba(q)
    return found[:, 1] if data.binary else found


def _logistic(x: Float, labels: Float) -> LogisticRegression | LogisticRegressionCV:
    folds = int(min(np.unique(labels, return_counts=True)[1].min(), 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (ConvergenceWarning))
        warnings.simplefilter("ignore", FutureWarning)
        if folds < 2:
            return LogisticRegression(C=0.01, max_iter=300).fit(x, labels)
        return LogisticRegressionCV(Cs=_STRENGTHS, cv=folds, scoring="neg_log_loss", max_iter=300).fit(x, labels)


def ranks(data: TaskData, rows: Int) -> Float:
    """Ranks of the evidence and flags of missing values, [rows, 2 * columns]."""
    rank = data.scaled[rows, :, 0].astype(np.float64)
    missing = np.isnan(rank)
    return np.concatenate([np.where(missing, 0, rank), missing.astype(np.float64)], 1)


def boosting(data: TaskData, train: Int, queries: Int, *, own: bool) -> Float:
    """Gradient boosting on all training labels, on the entity's own columns and the calendar or on all evidence."""
    chosen = [index for index, source in enumerate(data.sources) if not own or not source.path]
    chosen = [index for index in chosen if np.unique(data.raw[train, index]).size > 1]
    if not chosen:
        return constant(data, train, queries.size).values
    x, q, labels = data.raw[train][:, chosen], data.raw[queries][:, chosen], data.rows.label[train]
    if data.kind != "regression":
        stopping: Any = "auto" if data.binary else False  # which fails on a class of one row
        trees = HistGradientBoostingClassifier(learning_rate=0.05, early_stopping=stopping, random_state=0)
        return _probabilities(data, trees.fit(x, labels), q)
    return (
        HistGradientBoostingRegressor(learning_rate=0.05, loss="absolute_error", random_state=0)
        .fit(x, labels)
        .predict(q)
    )

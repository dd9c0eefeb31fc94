"""Metrics of predictions, and paired significance tests over seeds with Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.metrics import f1_score, roc_auc_score

Task = Literal["classification", "multiclass", "regression"]
Floats = npt.NDArray[np.floating]

METRIC_OF: dict[Task, str] = {"classification": "roc_auc", "multiclass": "micro_f1", "regression": "rmse"}
HIGHER_IS_BETTER = {"roc_auc": True, "micro_f1": True, "rmse": False}


class Score(NamedTuple):
    """Mean of a metric over the labels it is defined for, and the share of these labels (coverage)."""

    value: float
    coverage: float


def defined(task: Task, y: Floats) -> npt.NDArray[np.bool_]:
    """Return bool [T]: for which labels of y [G, T] (NaN = unknown) the metric is defined.

    ROC-AUC needs both classes, the other metrics one known value.
    """
    if task == "classification":
        return np.logical_and(np.any(y == 1, axis=0), np.any(y == 0, axis=0))
    return np.asarray(np.any(~np.isnan(y), axis=0))


def unlearned(task: Task, train: Floats) -> npt.NDArray[np.bool_]:
    """Return bool [T]: which labels a training on ``train`` cannot predict at all.

    These are regression labels without a known value: nothing tells their scale, so an error of them has no meaning.

    Shape:
        train: float [G, T], labels of the training graphs, NaN = unknown.
    """
    return np.asarray((task == "regression") & np.isnan(train).all(axis=0))


def of_one_class(task: Task, train: Floats) -> bool:
    """Return whether no label of the training graphs ``train``, float [G, T], has two classes, so that nothing is learned."""
    return task != "regression" and not bool((np.fmax.reduce(train) > np.fmin.reduce(train)).any())


def score(task: Task, y: Floats, prediction: Floats) -> Score:
    """Compute the metric of the task; at least one label must be :func:`defined`.

    classification: ROC-AUC, mean over labels. multiclass: micro-F1 of class numbers (T = 1). regression: RMSE in the
    labels' units, mean over labels.

    Shape:
        y: float [G, T], NaN = unknown.
        prediction: float [G, T].
    """
    use = defined(task, y)
    one = {"classification": _roc_auc, "multiclass": _micro_f1, "regression": _rmse}[task]
    values = [one(*_known(y[:, column], prediction[:, column])) for column in np.flatnonzero(use)]
    return Score(float(np.mean(values)), float(use.mean()))


def _known(y: Floats, prediction: Floats) -> tuple[Floats, Floats]:
    known = ~np.isnan(y)
    return y[known], prediction[known]


def _roc_auc(y: Floats, prediction: Floats) -> float:
    return float(roc_auc_score(y, prediction))


def _micro_f1(y: Floats, prediction: Floats) -> float:
    return float(f1_score(y.astype(np.int64), prediction.astype(np.int64), average="micro"))


def _rmse(y: Floats, prediction: Floats) -> float:
    return float(np.sqrt(np.mean((y.astype(np.float64) - prediction) ** 2)))


def paired_p_value(first: npt.ArrayLike, second: npt.ArrayLike) -> float | None:
    """Return the p-value of a two-sided paired t-test over seeds.

    None if it is undefined: fewer than 2 seeds, or constant differences.
    """
    found = _paired_test(first, second)
    return None if found is None else float(found.pvalue)


def paired_interval(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean difference ``first - second`` over seeds, of the test of :func:`paired_p_value`."""
    found = _paired_test(first, second)
    if found is None:
        return None
    low, high = found.confidence_interval(0.95)
    return float(low), float(high)


def _paired_test(first: npt.ArrayLike, second: npt.ArrayLike) -> Any:
    """Return SciPy's result of the paired t-test; None if it is undefined."""
    one, other = (np.asarray(values, dtype=np.float64) for values in (first, second))
    difference = one - other
    if difference.size < 2 or np.std(difference) <= 1e-9 * max(float(np.abs(difference).max()), 1e-12):
        return None
    return stats.ttest_rel(one, other)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Apply Holm's step-down correction to the p-values of one family; None (no test) stays None and is not counted."""
    known = sorted((value, place) for place, value in enumerate(p_values) if value is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (value, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * value))
        corrected[place] = largest
    return corrected

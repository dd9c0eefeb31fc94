"""Scores of predictions, the prediction of a constant, and means of predictions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from distgnn.relational.episodes import TaskData
from distgnn.relational.predict import Answer

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]


def score_of(data: TaskData, queries: Int, answer: Answer) -> tuple[float | None, str]:
    """Score of predictions where it is defined: (value, "auroc", "mae" or "accuracy"). Rows without a label do not count."""
    known = ~np.isnan(data.rows.label[queries])
    labels, values = data.rows.label[queries][known], answer.values[known]
    if not labels.size:
        return None, ""
    if data.kind == "multiclass":
        return float((answer.classes[values.argmax(1)] == labels).mean()), "accuracy"
    if not data.binary:
        return float(np.abs(values - labels).mean()), "mae"
    return (float(roc_auc_score(labels, values)) if np.unique(labels).size == 2 else None), "auroc"


def answer_of(data: TaskData, known: Int, values: Float) -> Answer:
    """An answer without explanation, of a method that read the labels of the rows ``known``."""
    classes = np.unique(data.rows.label[known]) if data.kind == "multiclass" else np.empty(0)
    return Answer(values, [], np.empty((values.shape[0], 0)), classes)


def constant(data: TaskData, known: Int, size: int) -> Answer:
    """The best constant for ``size`` rows: the median of the labels of the rows ``known``, or the share of each class."""
    labels = data.rows.label[known]
    if data.kind == "multiclass":
        shares = np.unique(labels, return_counts=True)[1] / labels.size
        return answer_of(data, known, np.tile(shares, (size, 1)))
    return answer_of(data, known, np.full(size, np.median(labels) if data.kind == "regression" else labels.mean()))


def mean_of(first: Answer, second: Answer) -> Answer:
    """Mean of two answers, with the explanation of the first."""
    if first.values.ndim == 1:
        return Answer((first.values + second.values) / 2, first.names, first.changes)
    classes = np.union1d(first.classes, second.classes)
    values = np.zeros((len(first.values), classes.size))
    for answer in (first, second):
        values[:, np.searchsorted(classes, answer.classes)] += answer.values / 2
    return Answer(values, first.names, first.changes, classes)

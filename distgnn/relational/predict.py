"""Predictions of a task on any database from context labels, and what they rest on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from distgnn.errors import RequestError
from distgnn.graph.keyed import key, permutation
from distgnn.graph.purposes import RelationalDraw
from distgnn.relational.ensemble import DatabaseModel
from distgnn.relational.episodes import TaskData
from distgnn.relational.median import conditional_median
from distgnn.relational.model import Fitted

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
_CHUNK = 1024


@dataclass(frozen=True)
class Answer:
    """Predictions of rows.

    Attributes:
        values: [rows] probabilities of 1 (binary) or conditional medians (numbers); [rows, classes] probabilities (multiclass).
        classes: float64 [classes], the labels that the columns of ``values`` stand for; empty unless multiclass.
        names: Names of what was hidden for explanations, ``table.column``.
        changes: float64 [rows, names], how much each raises the prediction: log odds (binary, or of the most probable class)
            or conditional means of numbers.
    """

    values: Float
    names: list[str]
    changes: Float
    classes: Float = field(default_factory=lambda: np.empty(0))


class _Raw(NamedTuple):
    """Predictions of one label column as the model gives them: logits, or standardised means.

    Attributes:
        values: [rows].
        left_out: [context], the same for the context rows, each without its own label; of numbers only.
        names, changes: See :class:`Answer`.
    """

    values: Float
    left_out: Float
    names: list[str]
    changes: Float


def choose_context(data: TaskData, queries: Int, size: int, seed: int = 0) -> Int:
    """Choose ``size`` labelled training rows at random whose label windows closed before the first of ``queries``."""
    first = int(data.rows.time[queries].min()) if queries.size else int(data.rows.time.max())
    if not data.missing.size:
        told = "no column that the task shows varies among its training rows"
        raise RequestError(f"{data.name}: {told}; hide less, or label more rows")
    fine = data.eligible(first)
    if size and not fine.size:
        raise RequestError(f"{data.name}: no training row whose label is known before the first query; use context=0")
    return fine[permutation(key(seed, RelationalDraw.CONTEXT), fine.size)[:size]]


def predict_rows(
    model: DatabaseModel, data: TaskData, context: Int, queries: Int, steps: int = 0, *, explain: bool = False
) -> Answer:
    """Predict ``queries`` from ``context``.

    Args:
        model: The model; it is not trained.
        data: The task.
        context: Rows whose labels are read.
        queries: Rows to predict; their labels are not read.
        steps: Inner steps of adaptation on the context.
        explain: Also hide each column in turn, in all paths that lead to it, and note the change.
    """
    if data.kind != "multiclass":
        raw = _one(model, data, data.rows.label, context, queries, steps, explain)
        return Answer(_shown(data, raw, context), raw.names, raw.changes * _scale(data, context))
    classes = np.unique(data.rows.label[context])
    if not classes.size:
        raise RequestError(f"{data.name}: without labels no class is known; give context")
    parts = [_one(model, data, (data.rows.label == c).astype(float), context, queries, steps, explain) for c in classes]
    scores = np.stack([part.values for part in parts], 1)
    best = scores.argmax(1)
    changes = np.stack([part.changes for part in parts])[best, np.arange(queries.size)]
    exponent = np.exp(scores - scores.max(1, keepdims=True))
    return Answer(exponent / exponent.sum(1, keepdims=True), parts[0].names, changes, classes)


def _one(
    model: DatabaseModel, data: TaskData, labels: Float, context: Int, queries: Int, steps: int, explain: bool
) -> _Raw:
    """Raw predictions of one label column, and their changes by occlusion."""
    groups = _groups(data) if explain else {}
    fitted = model.fit(data.episode(context, queries[:0], labels=labels), steps)
    values, changes = [np.empty(0)], [np.empty((0, len(groups)))]
    with torch.no_grad():
        left_out = model.left_out(fitted).double().numpy() if data.kind == "regression" else np.empty(0)
        for low in range(0, queries.size, _CHUNK):
            rows = data.episode(context[:0], queries[low : low + _CHUNK], labels=labels).query
            plain = model.predict(fitted, rows)
            values.append(plain.double().numpy())
            changes.append(_occluded(model, fitted, rows, plain, groups))
    return _Raw(np.concatenate(values), left_out, list(groups), np.concatenate(changes))


def _groups(data: TaskData) -> dict[str, list[int]]:
    """Columns of evidence by the table and column that they come from."""
    groups: dict[str, list[int]] = {}
    for index, source in enumerate(data.sources):
        groups.setdefault(f"{source.table}.{source.column or '(rows)'}", []).append(index)
    return groups


def _occluded(
    model: DatabaseModel, fitted: list[Fitted], rows: torch.Tensor, plain: torch.Tensor, groups: dict[str, list[int]]
) -> Float:
    """[rows, groups]: the prediction less that without each group of columns."""
    found = np.empty((rows.shape[0], len(groups)))
    for place, columns in enumerate(groups.values()):
        hidden = rows.clone()
        hidden[:, columns] = 0
        found[:, place] = (plain - model.predict(fitted, hidden)).double().numpy()
    return found


def _scale(data: TaskData, context: Int) -> float:
    if data.binary or not context.size:
        return 1.0
    return max(float(data.rows.label[context].std()), 1e-6)


def _shown(data: TaskData, raw: _Raw, context: Int) -> Float:
    if data.binary:
        return 1 / (1 + np.exp(-raw.values))
    if not context.size:
        return raw.values
    labels, scale = data.rows.label[context], _scale(data, context)
    means, left_out = (part * scale + labels.mean() for part in (raw.values, raw.left_out))
    return conditional_median(means, left_out, labels)

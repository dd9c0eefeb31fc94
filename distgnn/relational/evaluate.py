"""Evaluation of models on tasks of databases that they have not seen, beside baselines with the same labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.metrics import roc_auc_score

from distgnn.config.database_model import DatabaseEvaluateConfig, DatabaseModelConfig
from distgnn.graph.keyed import key, permutation
from distgnn.graph.purposes import RelationalDraw
from distgnn.relational.baselines import boosting, forest_and_linear
from distgnn.relational.ensemble import DatabaseModel
from distgnn.relational.episodes import TRAIN, TaskData
from distgnn.relational.finetune import fine_tune, large_context
from distgnn.relational.predict import Answer, choose_context, predict_rows
from distgnn.relational.training import new_model

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
ALL = -1
"""Number of labels that stands for all training labels."""
BOOSTING = "boosting, two hops"
"""Reference with all training labels."""


@dataclass(frozen=True)
class Record:
    """One score.

    Attributes:
        task: ``database/task``.
        method: Name of the method.
        labels: Number of context labels; :data:`ALL` = all training labels.
        draw: Draw of the context.
        score: AUROC (binary), or mean absolute error over that of the median (regression).
        binary: Whether the task is binary.
    """

    task: str
    method: str
    labels: int
    draw: int
    score: float
    binary: bool


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


def evaluate_task(model: DatabaseModel, data: TaskData, config: DatabaseEvaluateConfig, split: int) -> Iterator[Record]:
    """Score all methods on one task."""
    queries = np.flatnonzero((data.rows.split == split) & ~np.isnan(data.rows.label))
    queries = queries[permutation(key(RelationalDraw.ROWS, queries.size), queries.size)[: config.rows]]
    train = np.flatnonzero(data.rows.split == TRAIN)
    median = np.full(queries.size, np.median(data.rows.label[train]))
    scale = 1.0 if data.binary else float(np.abs(median - data.rows.label[queries]).mean())

    def record(method: str, labels: int, draw: int, values: Float) -> Record:
        score = score_of(data, queries, Answer(values, [], np.empty((0, 0))))[0]
        return Record(data.name, method, labels, draw, (0.5 if score is None else score) / scale, data.binary)

    yield record("constant", ALL, 0, median)
    control = new_model(DatabaseModelConfig(**vars(model.config)), 0)
    for labels in config.contexts:
        for draw in range(config.draws if labels else 1):
            context = choose_context(data, queries, labels, draw)
            for method, values in _few(model, control, data, context, queries, config, draw).items():
                yield record(method, labels, draw, values)
    for method, values in _all_labels(model, data, train, queries, config).items():
        yield record(method, ALL, 0, values)


def _few(
    model: DatabaseModel, control: DatabaseModel, data: TaskData, context: Int, queries: Int, config: Any, draw: int
) -> dict[str, Float]:
    found = {
        "untrained encoder": predict_rows(control, data, context, queries).values,
        "pre-trained": predict_rows(model, data, context, queries).values,
    }
    if context.size and config.adapt:
        found[f"pre-trained, {config.adapt} inner steps"] = predict_rows(
            model, data, context, queries, config.adapt
        ).values
    if context.size and config.baselines:
        found |= forest_and_linear(data, context, queries, draw)
        found["forest + linear + pre-trained"] = (found["forest + linear"] + found["pre-trained"]) / 2
        found["forest + linear + untrained"] = (found["forest + linear"] + found["untrained encoder"]) / 2
    return found


def _all_labels(
    model: DatabaseModel, data: TaskData, train: Int, queries: Int, config: DatabaseEvaluateConfig
) -> dict[str, Float]:
    if not config.finetune:
        return {}
    context = large_context(data)
    tuned = fine_tune(model, data, config.finetune)
    found = {
        "pre-trained": predict_rows(model, data, context, queries).values,
        "fine-tuned": predict_rows(tuned, data, context, queries).values,
    }
    if config.baselines:
        found["boosting, own columns"] = boosting(data, train, queries, own=True)
        found[BOOSTING] = boosting(data, train, queries, own=False)
        found[f"fine-tuned + {BOOSTING}"] = (found["fine-tuned"] + found[BOOSTING]) / 2
    return found


@dataclass(frozen=True)
class Row:
    """A method with a number of labels, over the tasks of one kind.

    Attributes:
        method, labels: The method and its number of context labels.
        mean: Mean over tasks of the mean over draws.
        difference: Mean paired difference to the reference, over tasks; None for the reference, and where it has no score.
        error: Standard error of the difference over tasks.
        p: Paired t-test over tasks.
        tasks: Number of tasks.
    """

    method: str
    labels: int
    mean: float
    difference: float | None
    error: float | None
    p: float | None
    tasks: int


def summarise(records: list[Record], *, binary: bool, reference: str) -> list[Row]:
    """Rows by number of labels and method, each against ``reference`` with as many labels, or :data:`BOOSTING` with all."""
    table: dict[tuple[int, str], dict[str, list[float]]] = {}
    for record in records:
        if record.binary == binary:
            table.setdefault((record.labels, record.method), {}).setdefault(record.task, []).append(record.score)
    means = {place: {task: float(np.mean(found)) for task, found in tasks.items()} for place, tasks in table.items()}
    rows = []
    for (labels, method), tasks in sorted(means.items(), key=lambda item: (item[0][0] == ALL, item[0][0])):
        against = BOOSTING if labels == ALL else reference
        other = means.get((labels, against), {}) if method != against else {}
        gaps = np.array([tasks[task] - other[task] for task in tasks if task in other])
        rows.append(Row(method, labels, float(np.mean(list(tasks.values()))), *_paired(gaps), len(tasks)))
    return rows


def _paired(gaps: Float) -> tuple[float | None, float | None, float | None]:
    if gaps.size < 2:
        return (float(gaps.mean()) if gaps.size else None), None, None
    error = float(gaps.std(ddof=1) / gaps.size**0.5)
    p = float(np.asarray(stats.ttest_1samp(gaps, 0))[1]) if error else 1.0
    return float(gaps.mean()), error, p

"""Evaluation of models on tasks of databases that they have not seen, beside baselines with the same labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from distgnn.config.database_model import DatabaseEvaluateConfig, DatabaseModelConfig
from distgnn.graph.keyed import key, permutation
from distgnn.graph.purposes import RelationalDraw
from distgnn.relational.baselines import boosting, forest_and_linear
from distgnn.relational.ensemble import DatabaseModel
from distgnn.relational.episodes import TRAIN, TaskData
from distgnn.relational.finetune import fine_tune, large_context
from distgnn.relational.predict import Answer, choose_context, predict_rows
from distgnn.relational.scores import answer_of, constant, mean_of, score_of
from distgnn.relational.tasks import SPLITS, Labels, TaskRows
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
        score: AUROC (binary), accuracy (several classes), or mean absolute error over that of the median (regression).
        binary: Whether the task is binary.
        multiclass: Whether it has several classes.
    """

    task: str
    method: str
    labels: int
    draw: int
    score: float
    binary: bool
    multiclass: bool = False

    @property
    def kind(self) -> Labels:
        """What the labels are."""
        return "multiclass" if self.multiclass else "binary" if self.binary else "regression"


def scored_rows(rows: TaskRows, split: int, most: int) -> Int:
    """Labelled rows of a split, at most ``most``, chosen at random."""
    queries = np.flatnonzero((rows.split == split) & ~np.isnan(rows.label))
    return queries[permutation(key(RelationalDraw.ROWS, queries.size), queries.size)[:most]]


def why_not_scored(rows: TaskRows, split: int, most: int) -> str:
    """Why a task says nothing about methods: one label only among training or scored rows; empty if it may be scored."""
    sides = {"train": np.flatnonzero(rows.split == TRAIN), SPLITS[split]: scored_rows(rows, split, most)}
    few = [name for name, chosen in sides.items() if np.unique(rows.label[chosen]).size < 2]
    return f"fewer than two labels among its rows of {' and '.join(few)}" if few else ""


def evaluate_task(
    model: DatabaseModel,
    data: TaskData,
    config: DatabaseEvaluateConfig,
    split: int,
    others: Mapping[str, DatabaseModel] | None = None,
) -> Iterator[Record]:
    """Score all methods on one task. Where a method has several answers, their scores are averaged.

    Args:
        model: The pre-trained model.
        data: The task.
        config: The methods and numbers of labels.
        split: Rows to score.
        others: Further models to score with the same context rows, by name.
    """
    queries = scored_rows(data.rows, split, config.rows)
    fixed = constant(data, np.flatnonzero(data.rows.split == TRAIN), queries.size)
    scale = (score_of(data, queries, fixed)[0] or 1.0) if data.kind == "regression" else 1.0

    def record(method: str, labels: int, draw: int, answers: Sequence[Answer]) -> Record:
        scores = (score_of(data, queries, answer)[0] for answer in answers)
        mean = float(np.mean([0.5 if score is None else score for score in scores]))
        return Record(data.name, method, labels, draw, mean / scale, data.binary, data.kind == "multiclass")

    yield record("constant", ALL, 0, [fixed])
    models = {"pre-trained": model, **(others or {})}
    controls = [new_model(DatabaseModelConfig(**vars(model.config)), seed) for seed in range(config.untrained_seeds)]
    for labels in config.contexts:
        if not labels and data.kind == "multiclass":
            continue  # without labels no class is known
        for draw in range(config.draws if labels else 1):
            context = choose_context(data, queries, labels, draw)
            for method, answers in _few(models, controls, data, context, queries, config, draw).items():
                yield record(method, labels, draw, answers)
    for method, answer in _all_labels(model, data, queries, config).items():
        yield record(method, ALL, 0, [answer])


def _few(
    models: Mapping[str, DatabaseModel],
    controls: list[DatabaseModel],
    data: TaskData,
    context: Int,
    queries: Int,
    config: DatabaseEvaluateConfig,
    draw: int,
) -> dict[str, list[Answer]]:
    found = {"untrained encoder": [predict_rows(control, data, context, queries) for control in controls]}
    found |= {name: [predict_rows(model, data, context, queries)] for name, model in models.items()}
    if context.size and config.adapt:
        adapted = predict_rows(models["pre-trained"], data, context, queries, config.adapt)
        found[f"pre-trained, {config.adapt} inner steps"] = [adapted]
    if context.size and config.baselines:
        values = forest_and_linear(data, context, queries, draw)
        baselines = {name: [answer_of(data, context, one)] for name, one in values.items()}
        both = baselines["forest + linear"][0]
        for name, method in (*((name, name) for name in models), ("untrained", "untrained encoder")):
            baselines[f"forest + linear + {name}"] = [mean_of(both, answer) for answer in found[method]]
        found |= baselines
    return {name: answers for name, answers in found.items() if answers}


def _all_labels(
    model: DatabaseModel, data: TaskData, queries: Int, config: DatabaseEvaluateConfig
) -> dict[str, Answer]:
    if not config.finetune:
        return {}
    before = int(data.rows.time[queries].min())
    context, train = large_context(data, before), data.eligible(before)
    tuned = fine_tune(model, data, config.finetune, before)
    found = {
        "pre-trained": predict_rows(model, data, context, queries),
        "fine-tuned": predict_rows(tuned, data, context, queries),
    }
    if config.baselines:
        for name, own in (("boosting, own columns", True), (BOOSTING, False)):
            found[name] = answer_of(data, train, boosting(data, train, queries, own=own))
        found[f"fine-tuned + {BOOSTING}"] = mean_of(found["fine-tuned"], found[BOOSTING])
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


def summarise(records: list[Record], *, kind: Labels, reference: str) -> list[Row]:
    """Rows by number of labels and method, each against ``reference`` with as many labels, or :data:`BOOSTING` with all."""
    table: dict[tuple[int, str], dict[str, list[float]]] = {}
    for record in records:
        if record.kind == kind:
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

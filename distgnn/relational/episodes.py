"""Episodes: a task's rows with their evidence, from which context and query rows are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from distgnn.errors import RequestError
from distgnn.graph.keyed import draw, key, permutation, unit_interval
from distgnn.graph.purposes import RelationalDraw
from distgnn.relational.cells import DAY, Cells
from distgnn.relational.database import Database
from distgnn.relational.evidence import Source, collect
from distgnn.relational.model import Episode
from distgnn.relational.sampling import NEVER, Limits, Seeds
from distgnn.relational.tasks import Labels, Task, TaskRows
from distgnn.relational.values import Descriptions, Scaler, channels, describe, redundancy
from distgnn.relational.visibility import of_task

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
_FITTED, _COMPARED = 4000, 1000
_LARGEST = 1e18
"""Largest size of a label: its square is a float32."""
TRAIN, VAL, TEST = 0, 1, 2


@dataclass(frozen=True)
class TaskData:
    """A task with the evidence of its rows.

    Attributes:
        name: ``database/task``.
        kind: What the labels are.
        horizon: Length of the label window, microseconds.
        rows: Entities, cut-offs, labels and splits.
        scaled: float16 [rows, columns, 2], see :meth:`Scaler.transform`.
        raw: float32 [rows, columns], for baselines.
        sources: Kept columns.
        missing: float32 [columns], share of missing values among training rows.
        descriptions: Of the columns.
    """

    name: str
    kind: Labels
    horizon: int
    rows: TaskRows
    scaled: npt.NDArray[np.float16]
    raw: npt.NDArray[np.float32]
    sources: list[Source]
    missing: npt.NDArray[np.float32]
    descriptions: Descriptions

    @property
    def binary(self) -> bool:
        """Whether labels are 0 or 1."""
        return self.kind == "binary"

    def episode(
        self, context: Int, query: Int, columns: Int | None = None, *, names: bool = True, labels: Float | None = None
    ) -> Episode:
        """Episode of the given rows.

        Args:
            context: Rows with labels.
            query: Rows to predict.
            columns: Columns to use; None = all.
            names: Whether the names of tables and columns are shown.
            labels: [rows], labels 0 or 1 instead of the task's own, such as one class of many.
        """
        binary, label = (self.binary, self.rows.label) if labels is None else (self.kind != "regression", labels)
        chosen = slice(None) if columns is None else columns
        facts, hashed = self.descriptions.facts[chosen], self.descriptions.names[chosen]
        return Episode(
            self._channels(context, chosen),
            self._channels(query, chosen),
            torch.from_numpy(facts),
            torch.from_numpy(hashed if names else np.zeros_like(hashed)),
            torch.from_numpy(label[context].astype(np.float32)),
            torch.from_numpy(label[query].astype(np.float32)),
            binary,
            self.horizon / DAY,
        )

    def _channels(self, rows: Int, columns: Int | slice) -> torch.Tensor:
        scaled = self.scaled[rows][:, columns].astype(np.float32)
        return torch.from_numpy(channels(scaled, self.missing[columns]))

    def eligible(self, query_time: int, split: int = TRAIN) -> Int:
        """Rows of a split whose label window had closed before ``query_time``: ``time + horizon <= query_time``."""
        rows = np.flatnonzero(self.rows.split == split)
        if query_time == NEVER:
            return rows
        return rows[self.rows.time[rows] <= query_time - self.horizon]


def load_data(
    database: Database,
    task: Task,
    rows: TaskRows,
    limits: Limits,
    splits: tuple[int, ...] = (TRAIN, VAL, TEST),
    seed: int = 0,
) -> TaskData:
    """Sample the sub-graphs of the rows of a task. Statistics are fitted on training rows and on the time before the others.

    Args:
        database: The database.
        task: The task.
        rows: Its rows.
        limits: Most children of a row.
        splits: Rows to load.
        seed: Seed of the random neighbours.

    Raises:
        RequestError: There are no training rows, or a label is larger than 1e18 in size.
    """
    if not (rows.split == TRAIN).any():
        raise RequestError(f"{database.uri}: task {task.name!r} has no training rows; label some, or move its splits")
    largest = float(np.abs(rows.label[~np.isnan(rows.label)]).max(initial=0))
    if largest > _LARGEST:
        raise RequestError(
            f"{database.uri}: task {task.name!r} has a label of size {largest:g}; choose a larger unit (at most 1e18)"
        )
    visibility = of_task(database, task, rows)
    cells = Cells(visibility, fit_before(rows))
    numbers = np.flatnonzero(np.isin(rows.split, splits))
    rows = TaskRows(rows.entity[numbers], rows.time[numbers], rows.label[numbers], rows.split[numbers])
    sources, values = collect(cells, Seeds(task.table, rows.entity.astype(np.int64), rows.time, numbers), limits, seed)
    train = np.flatnonzero(rows.split == TRAIN)
    fitted = train[permutation(key(seed, RelationalDraw.ROWS), train.size)[:_FITTED]]
    scaler = Scaler.fit(values[fitted])
    scaled = scaler.transform(values)
    similar = redundancy(scaled[fitted[:_COMPARED], :, 0])
    return TaskData(
        f"{task.database}/{task.name}",
        task.kind,
        task.horizon,
        rows,
        scaled.astype(np.float16),
        values[:, scaler.kept],
        [sources[index] for index in scaler.kept],
        scaler.missing,
        describe(sources, scaler, visibility, cells.fan_out, task.name, similar),
    )


def fit_before(rows: TaskRows) -> int:
    """Time before which statistics are fitted: the first cut-off outside the training rows."""
    later = rows.time[rows.split != TRAIN]
    return int((later if later.size else rows.time).min())


@dataclass(frozen=True)
class EpisodeLimits:
    """Sizes of drawn episodes.

    Attributes:
        contexts: Numbers of context rows to choose from.
        queries: Most query rows.
        columns: Most columns.
        name_dropout: Share of episodes without names.
    """

    contexts: tuple[int, ...] = (16, 32, 64, 128, 256)
    queries: int = 96
    columns: int = 160
    name_dropout: float = 0.5


def draw_episode(data: TaskData, limits: EpisodeLimits, *parts: int) -> Episode:
    """Draw an episode; a pure function of the task and the integers ``parts`` (seed, step, index).

    Context rows are training rows; queries are validation rows, or, for every second episode, other training rows. Test rows
    are never drawn.
    """
    base = key(RelationalDraw.EPISODE, *parts)
    chance = unit_interval(draw(base, np.arange(4)))
    size = limits.contexts[int(chance[0] * len(limits.contexts))]
    train, val = (np.flatnonzero(data.rows.split == split) for split in (TRAIN, VAL))
    train = train[permutation(key(base, RelationalDraw.CONTEXT), train.size)]
    size = min(size, train.size // 2)
    inside = chance[1] < 0.5 or val.size < 16
    rest = train[size:] if inside else val[permutation(key(base, RelationalDraw.ROWS), val.size)]
    count = data.missing.size
    columns = np.sort(permutation(key(base, RelationalDraw.COLUMNS), count)[: limits.columns])
    return data.episode(train[:size], rest[: limits.queries], columns, names=chance[2] >= limits.name_dropout)

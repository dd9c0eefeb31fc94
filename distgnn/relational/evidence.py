"""Evidence of task rows: what the time-cut sub-graph says, by path and column, before any label is seen.

Each message along a path is an aggregate of one column (mean, last, maximum, share of a category), a count, a count in a window
or a recency. Columns are never mixed here: the encoder weighs them once it has seen labels.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from distgnn.graph.keyed import key
from distgnn.relational.cells import DAY, Cell, Cells
from distgnn.relational.sampling import (
    ALWAYS,
    NEVER,
    Level,
    Limits,
    Seeds,
    Step,
    first_level,
    lower_bound,
    step_down,
    step_up,
    visible_range,
)
from distgnn.relational.schema import Kind

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Path = tuple[Step, ...]
WINDOWS = (7, 30, 90, 365)
_CHUNK = 2048
_LARGEST = 1e30


@dataclass(frozen=True)
class Source:
    """Where a column of evidence comes from.

    Attributes:
        path: Steps from the entity row.
        table: The table reached.
        column: Its column; empty for counts and times of rows.
        kind: What is measured: number, category, time, text, count, window, recency, first, overdue
            (recency beside the mean gap between rows), present or calendar.
        aggregate: value, mean, last or max.
        detail: Category of an indicator, or days of a window.
        share: Share of the category.
        minus: First step of the path whose value is subtracted (the other role), if any.
    """

    path: Path
    table: str
    column: str
    kind: str
    aggregate: str = "value"
    detail: str = ""
    share: float = 0.0
    minus: Step | None = None

    @property
    def name(self) -> str:
        """Unique name, for explanations and tables."""
        steps = "".join(step.name for step in self.path)
        other = f" minus {self.minus.name}" if self.minus else ""
        detail = f"={self.detail}" if self.detail else ""
        return f"{steps or 'row'}:{self.aggregate} {self.kind} {self.table}.{self.column or '*'}{detail}{other}"

    @property
    def shape(self) -> str:
        """Directions of the steps, such as ``ud`` for the children of a parent."""
        return "".join("d" if step.down else "u" for step in self.path)


def collect(
    cells: Cells, seeds: Seeds, limits: Limits, seed: int = 0, epoch: int = 0
) -> tuple[list[Source], npt.NDArray[np.float32]]:
    """Sample the sub-graphs of ``seeds`` and return their evidence, float32 [rows, columns]; NaN = unknown.

    It is a pure function of (seed, epoch, row): neither the order of rows nor their neighbours matter.
    """
    parts = []
    sources: list[Source] = []
    timed = not (seeds.cutoff == NEVER).any()
    for low in range(0, max(seeds.row.size, 1), _CHUNK):
        part = slice(low, low + _CHUNK)
        piece = Seeds(seeds.table, seeds.row[part], seeds.cutoff[part], seeds.number[part])
        sources, values = _collect(cells, piece, limits, key(seed, epoch), timed=timed)
        parts.append(values)
    return sources, np.concatenate(parts)


def _collect(
    cells: Cells, seeds: Seeds, limits: Limits, draws: int, *, timed: bool
) -> tuple[list[Source], npt.NDArray[np.float32]]:
    levels = sample(cells, seeds, limits, draws)
    found: list[tuple[Source, Float]] = _calendar(seeds) if timed else []
    for path in levels:
        found += _of_path(cells, seeds, levels, path, timed=timed)
    found += _contrasts(found)
    if not found:
        return [], np.empty((seeds.row.size, 0), np.float32)
    values = np.stack([value for _, value in found], 1).clip(-_LARGEST, _LARGEST)
    return [source for source, _ in found], values.astype(np.float32)


def sample(cells: Cells, seeds: Seeds, limits: Limits, draws: int) -> dict[Path, Level]:
    """Sample the levels of all paths; the draws of a path depend on its steps only."""
    database = cells.visibility.database
    levels: dict[Path, Level] = {(): first_level(seeds)}
    for path in cells.visibility.paths[1:]:
        before, step = levels[path[:-1]], path[-1]
        if step.down:
            mark = key(draws, *(int.from_bytes(part.name.encode()) for part in path))
            levels[path] = step_down(database, seeds, before, step, limits, mark)
        else:
            levels[path] = step_up(database, seeds, before, step)
    return levels


def _calendar(seeds: Seeds) -> list[tuple[Source, Float]]:
    days = seeds.cutoff / DAY
    found = []
    for name, period in (("year", 365.2425), ("week", 7.0), ("day", 1.0)):
        for wave, function in (("sin", np.sin), ("cos", np.cos)):
            source = Source((), seeds.table, "", "calendar", detail=f"{name} {wave}")
            found.append((source, function(2 * np.pi * days / period)))
    return found


def _of_path(
    cells: Cells, seeds: Seeds, levels: dict[Path, Level], path: Path, *, timed: bool
) -> list[tuple[Source, Float]]:
    level = levels[path]
    cutoff = seeds.cutoff[level.owner]
    what, values = cells.read(level.table, level.row, cutoff, is_entity_row=not path)
    if not any(step.down for step in path):
        return _single(seeds, path, level, what, values)
    found = _of_rows(cells, seeds, levels, path, timed=timed) if path[-1].down else []
    return found + _aggregates(seeds, path, level, what, values)


def _single(seeds: Seeds, path: Path, level: Level, what: list[Cell], values: Float) -> list[tuple[Source, Float]]:
    whole = np.full((seeds.row.size, len(what)), np.nan)
    whole[level.owner] = values
    found = [(_source(path, level, cell, "value"), whole[:, at]) for at, cell in enumerate(what)]
    if path:
        present = np.zeros(seeds.row.size)
        present[level.owner] = 1
        found.append((Source(path, level.table, "", "present"), present))
    return found


def _source(path: Path, level: Level, cell: Cell, aggregate: str) -> Source:
    return Source(path, level.table, cell.column, cell.kind.value, aggregate, cell.detail, cell.share)


def _aggregates(seeds: Seeds, path: Path, level: Level, what: list[Cell], values: Float) -> list[tuple[Source, Float]]:
    """Mean, last and maximum of each cell over the rows of each sub-graph."""
    count = seeds.row.size
    known = np.isfinite(values)
    zeroed = np.where(known, values, 0)
    ends = np.searchsorted(level.owner, np.arange(count), "right")
    starts = np.searchsorted(level.owner, np.arange(count), "left")
    some = np.flatnonzero(ends > starts)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        total, number = (_sums(part, starts, some, count) for part in (zeroed, known.astype(np.float64)))
        mean = np.where(number > 0, total / number, np.nan)
    top = np.full((count, len(what)), np.nan)
    if some.size and len(what):
        largest = np.maximum.reduceat(np.where(known, values, -np.inf), starts[some], axis=0)
        top[some] = np.where(np.isfinite(largest), largest, np.nan)
    last = np.full((count, len(what)), np.nan)
    last[some] = values[ends[some] - 1]
    for at, cell in enumerate(what):
        found.append((_source(path, level, cell, "mean"), mean[:, at]))
        if cell.kind == Kind.NUMBER:
            found.append((_source(path, level, cell, "max"), top[:, at]))
        if path[-1].down and cell.kind in (Kind.NUMBER, Kind.CATEGORY) and not any(s.down for s in path[:-1]):
            found.append((_source(path, level, cell, "last"), last[:, at]))
    return found


def _sums(values: Float, starts: Int, some: Int, count: int) -> Float:
    sums = np.zeros((count, values.shape[1]))
    if some.size and values.shape[1]:
        sums[some] = np.add.reduceat(values, starts[some], axis=0)
    return sums


def _of_rows(
    cells: Cells, seeds: Seeds, levels: dict[Path, Level], path: Path, *, timed: bool
) -> list[tuple[Source, Float]]:
    """Counts, counts in windows, and ages of the newest and the oldest visible row."""
    level = levels[path]
    before, step, count = levels[path[:-1]], path[-1], seeds.row.size
    source = Source(path, level.table, "", "count")
    found = [(source, np.log1p(np.bincount(before.owner, level.total, count)))]
    time = cells.visibility.database.time(level.table)
    if time is None or not timed:
        return found
    cutoff = seeds.cutoff[before.owner]
    start, stop = visible_range(cells.visibility.database, step.foreign_key, before.row, cutoff)
    rows = np.asarray(cells.visibility.database.children(step.foreign_key).rows)
    for days in WINDOWS:
        low = lower_bound(time, rows, start, stop, cutoff - days * DAY)
        within = np.log1p(np.bincount(before.owner, stop - low, count))
        found.append((replace(source, kind="window", detail=str(days)), within))
    some = np.flatnonzero(stop > start)
    newest, oldest = time[rows[stop[some] - 1]], time[rows[start[some]]]
    owner = before.owner[some]
    recency, first = (
        -_latest(-_ages(newest, cutoff[some]), owner, count),
        _latest(_ages(oldest, cutoff[some]), owner, count),
    )
    number = np.bincount(before.owner, stop - start, count)
    gap = np.log1p(np.maximum(np.expm1(first) - np.expm1(recency), 0) / np.maximum(number - 1, 1))
    found += [(replace(source, kind="recency"), recency), (replace(source, kind="first"), first)]
    found.append((replace(source, kind="overdue"), np.where(number > 1, recency - gap, np.nan)))
    return found


def _ages(time: Int, cutoff: Int) -> Float:
    days = (cutoff - np.where(time == ALWAYS, cutoff, time)) / DAY
    return np.where(time == ALWAYS, np.nan, np.log1p(np.maximum(days, 0)))


def _latest(values: Float, owner: Int, count: int) -> Float:
    """Largest value of each owner, NaN where there is none; owners are sorted."""
    largest = np.full(count, -np.inf)
    np.maximum.at(largest, owner, np.where(np.isfinite(values), values, -np.inf))
    return np.where(np.isfinite(largest), largest, np.nan)


def _contrasts(found: list[tuple[Source, Float]]) -> list[tuple[Source, Float]]:
    """Mine minus the other's, where two foreign keys of the entity lead to one table (two teams of a match)."""
    by_rest: dict[tuple[object, ...], list[tuple[Source, Float]]] = {}
    for source, value in found:
        if source.path and not source.path[0].down and source.aggregate in ("value", "mean"):
            rest = (source.path[0].target, source.path[1:], source.column, source.kind, source.aggregate, source.detail)
            by_rest.setdefault(rest, []).append((source, value))
    pairs = (same for same in by_rest.values() if len(same) == 2)
    return [(replace(a, minus=b.path[0]), x - y) for (a, x), (b, y) in pairs]

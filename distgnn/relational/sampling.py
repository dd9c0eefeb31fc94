"""Time-cut ego sub-graphs of task rows, sampled for many rows at once.

A sub-graph is a tree of levels: level 0 holds the entity row of each task row, and a step along a foreign key, up to the parent
or down to the children, gives the next level. Only rows with ``time < cut-off`` are visible, strictly; rows of tables without a
time column always are. Of more children than the limits allow, the newest are kept and keyed-random ones of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distgnn.graph.keyed import distinct, draw, key
from distgnn.graph.purposes import RelationalDraw
from distgnn.relational.database import Database
from distgnn.relational.schema import ForeignKey

Int = npt.NDArray[np.int64]
ALWAYS = np.iinfo(np.int64).min
"""Time of a row that is always visible."""
NEVER = np.iinfo(np.int64).max
"""Cut-off of a task row without time: every row is visible."""


@dataclass(frozen=True)
class Limits:
    """Most children that one step down keeps of each row.

    Attributes:
        newest: The newest visible children.
        random: Keyed-random ones of the older visible children.
    """

    newest: int = 32
    random: int = 8


class Step(NamedTuple):
    """A step along a foreign key: down from a parent to its children, or up from a child to its parent."""

    foreign_key: ForeignKey
    down: bool

    @property
    def source(self) -> str:
        """Table that the step leaves."""
        return self.foreign_key.parent if self.down else self.foreign_key.table

    @property
    def target(self) -> str:
        """Table that the step reaches."""
        return self.foreign_key.table if self.down else self.foreign_key.parent

    @property
    def name(self) -> str:
        """Name of the step, unique in a schema."""
        return f"{'<' if self.down else '>'}{self.foreign_key.table}.{self.foreign_key.column}"


@dataclass(frozen=True)
class Seeds:
    """Task rows to sample for.

    Attributes:
        table: The entity table.
        row: int64 [N], rows of the entity table.
        cutoff: int64 [N], microseconds; :data:`NEVER` shows every row.
        number: int64 [N], number of each task row, the key of its random draws.
    """

    table: str
    row: Int
    cutoff: Int
    number: Int


@dataclass(frozen=True)
class Level:
    """Rows at one depth of the sub-graphs, grouped by task row in ascending order.

    Attributes:
        table: Table of the rows.
        owner: int64 [M], the task row of each row.
        parent: int64 [M], the index of each row's predecessor in the previous level.
        row: int64 [M], rows of the table; children of one row are sorted by time.
        total: int64 [M of the previous level], number of visible children, kept or not; empty after a step up.
    """

    table: str
    owner: Int
    parent: Int
    row: Int
    total: Int


def first_level(seeds: Seeds) -> Level:
    """Level 0: the entity rows."""
    index = np.arange(seeds.row.size)
    return Level(seeds.table, index, index, seeds.row.astype(np.int64), np.empty(0, np.int64))


def is_visible(database: Database, table: str, rows: Int, cutoff: Int) -> npt.NDArray[np.bool_]:
    """Whether each of ``rows`` is visible before its ``cutoff``."""
    time = database.time(table)
    if time is None:
        return np.ones(rows.size, bool)
    return time[rows] < cutoff


def step_up(database: Database, seeds: Seeds, level: Level, step: Step) -> Level:
    """The visible parents of the rows of ``level``."""
    parents = np.asarray(database.parent(step.foreign_key))[level.row].astype(np.int64)
    kept = np.flatnonzero(parents >= 0)
    rows, owner = parents[kept], level.owner[kept]
    shown = is_visible(database, step.target, rows, seeds.cutoff[owner]) & ~_is_seed(seeds, step.target, rows, owner)
    return Level(step.target, owner[shown], kept[shown], rows[shown], np.empty(0, np.int64))


def step_down(database: Database, seeds: Seeds, level: Level, step: Step, limits: Limits, draws: int) -> Level:
    """The visible children of the rows of ``level``, at most ``limits`` of each.

    Args:
        database: The database.
        seeds: The task rows.
        level: The previous level.
        step: The step.
        limits: Most children of each row.
        draws: Key of the random draws.
    """
    start, stop = visible_range(database, step.foreign_key, level.row, seeds.cutoff[level.owner])
    words = draw(key(draws, RelationalDraw.NEIGHBOURS), seeds.number[level.owner])
    words = draw(words, level.row)
    index, position = _choose(start, stop, limits, words)
    rows = np.asarray(database.children(step.foreign_key).rows)[position].astype(np.int64)
    owner = level.owner[index]
    other = ~_is_seed(seeds, step.target, rows, owner)
    total = stop - start
    if step.target == seeds.table:
        total = total - _counts_seed(database, seeds, level, step)
    return Level(step.target, owner[other], index[other], rows[other], total)


def visible_range(database: Database, foreign_key: ForeignKey, parents: Int, cutoff: Int) -> tuple[Int, Int]:
    """Positions [start, stop) of the visible children of each of ``parents`` in the rows of the index of ``foreign_key``."""
    children = database.children(foreign_key)
    indptr = np.asarray(children.indptr)
    start, stop = indptr[parents].astype(np.int64), indptr[parents + 1].astype(np.int64)
    time = database.time(foreign_key.table)
    if time is None:
        return start, stop
    return start, lower_bound(time, np.asarray(children.rows), start, stop, cutoff)


def lower_bound(time: Int, rows: npt.NDArray[np.int32], start: Int, stop: Int, limit: Int) -> Int:
    """First position in each [start, stop) whose row is not earlier than ``limit``; rows are sorted by time in each range."""
    low, high = start.copy(), stop.copy()
    for _ in range(int((stop - start).max(initial=0)).bit_length()):
        open_ = low < high
        middle = (low + high) >> 1
        earlier = open_ & (time[rows[np.where(open_, middle, 0)]] < limit)
        low = np.where(earlier, middle + 1, low)
        high = np.where(open_ & ~earlier, middle, high)
    return low


def _choose(start: Int, stop: Int, limits: Limits, words: npt.NDArray[np.uint64]) -> tuple[Int, Int]:
    """Choose positions of each range: (index of the range, position), sorted by both."""
    newest = np.minimum(stop - start, limits.newest)
    older = stop - start - newest
    few = np.where(older <= limits.random, older, 0)
    index, offset = _spread(newest + few)
    position = stop[index] - (newest + few)[index] + offset
    many = np.flatnonzero(older > limits.random)
    if limits.random and many.size:
        drawn = distinct(words[many], older[many], limits.random) + start[many, None]
        index = np.concatenate([index, np.repeat(many, limits.random)])
        position = np.concatenate([position, drawn.ravel()])
        order = np.lexsort((position, index))
        index, position = index[order], position[order]
    return index, position


def _spread(counts: Int) -> tuple[Int, Int]:
    """Return for each of ``counts`` its index as often as it says, and the offset within."""
    index = np.repeat(np.arange(counts.size), counts)
    offset = np.arange(index.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return index, offset


def _is_seed(seeds: Seeds, table: str, rows: Int, owner: Int) -> npt.NDArray[np.bool_]:
    """Whether a row is the entity row itself: it is level 0 and nothing else, since a task may hide cells of it."""
    return rows == seeds.row[owner] if table == seeds.table else np.zeros(rows.size, bool)


def _counts_seed(database: Database, seeds: Seeds, level: Level, step: Step) -> Int:
    """1 where the entity row is a visible child of a row of ``level``, else 0."""
    rows = seeds.row[level.owner]
    is_child = np.asarray(database.parent(step.foreign_key))[rows] == level.row
    return (is_child & is_visible(database, step.target, rows, seeds.cutoff[level.owner])).astype(np.int64)

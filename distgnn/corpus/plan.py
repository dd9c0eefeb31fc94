"""Deterministic schedule of which graphs make up which step: integer arithmetic without I/O or state.

Epoch e permutes the training units by (seed, e). Stream v of V takes units v, v+V, ... of that order, and the rows of a
unit are permuted by (seed, e, unit), on request such that its steps are equally large. A step takes b graphs from each
stream; rank r of W serves streams r, r+W, .... The global batch of a step is therefore the same for every W, and every
graph occurs exactly once per epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distgnn.errors import RequestError
from distgnn.graph.keyed import draw, first_of_permutation, key, permutation, unit_interval
from distgnn.graph.purposes import PretrainDraw


class UnitRef(NamedTuple):
    """A unit that a rank has to read.

    Attributes:
        epoch: determines row order and sampled tasks.
        stream: the stream that consumes the unit.
        unit: unit number.
    """

    epoch: int
    stream: int
    unit: int


class RowSlice(NamedTuple):
    """Rows low:high of a unit, in its permuted order, that a stream contributes to a step."""

    read: UnitRef
    low: int
    high: int


@dataclass(frozen=True)
class RankReads:
    """The units that a rank must read for steps start:stop; iterates over :meth:`Plan.reads`."""

    plan: Plan
    start: int
    stop: int
    rank: int
    world_size: int

    def __iter__(self) -> Iterator[UnitRef]:
        return self.plan.reads(self.start, self.stop, self.rank, self.world_size)


@dataclass(frozen=True)
class Plan:
    """The schedule of a run.

    The unit that is shorter than the others (the last of the corpus) always comes last in its epoch, so that stream
    lengths are the same in every epoch.

    Args:
        graphs: number of graphs in the corpus.
        unit_rows: graphs per unit.
        streams: number of streams, V.
        per_stream: graphs per stream and step, b.
        seed: seed of the run.
        validation_fraction: fraction of units held out for validation.
        balanced: whether the rows of a unit are ordered by :meth:`balanced_order`.
    """

    graphs: int
    unit_rows: int
    streams: int
    per_stream: int
    seed: int = 0
    validation_fraction: float = 0.0
    balanced: bool = False

    def __post_init__(self) -> None:
        if self.graphs < 1:
            raise RequestError("the corpus holds no graphs; rebuild it from an input that is not empty")

    @cached_property
    def units(self) -> int:
        """Number of units in the corpus."""
        return -(-self.graphs // self.unit_rows)

    def rows_of(self, unit: int) -> int:
        """Return the number of graphs in a unit."""
        return min(self.unit_rows, self.graphs - unit * self.unit_rows)

    def split_units(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Choose the held-out units at random (keyed by the seed).

        Returns:
            Training units and held-out units, each ascending int64. If ``validation_fraction`` > 0 and there are two units or
            more, at least one is held out.
        """
        return _split_units(self)

    def epoch_order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the training units in the order of an epoch, int64; the short unit is last."""
        return _epoch_order(self, epoch)

    def row_order(self, read: UnitRef) -> npt.NDArray[np.int64]:
        """Return the permutation of a unit's rows in its epoch, int64."""
        return permutation(key(self.seed, PretrainDraw.ROWS, read.epoch, read.unit), self.rows_of(read.unit))

    def balanced_order(self, read: UnitRef, sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return a permutation of a unit's rows by which its steps are about equally large.

        The rows are sorted by size times a random factor in [0.5, 1.5), and dealt out to the steps one row each at a time, the
        largest to the step that is the smallest so far. Then the steps, and the rows of a step, are shuffled.

        Args:
            read: the unit and its epoch.
            sizes: int64 [R], size of each row.
        """
        order, each = self.row_order(read), self.per_stream
        steps = len(order) // each
        if steps < 2 or each < 2:
            return order
        whole = order[: steps * each]
        noise = unit_interval(draw(key(self.seed, PretrainDraw.BALANCE, read.epoch, read.unit), whole))
        rounds = whole[np.argsort(-sizes[whole] * (0.5 + noise), kind="stable")].reshape(each, steps)
        rounds = np.take_along_axis(rounds, np.argsort(-sizes[rounds], axis=1, kind="stable"), axis=1)
        places, added, load = np.empty_like(rounds), sizes[rounds], np.zeros(steps, np.int64)
        for number, smallest in enumerate(places):
            smallest[:] = load.argsort(kind="stable")
            load[smallest] += added[number]
        dealt = np.empty((steps, each), np.int64)
        dealt[places, np.arange(each)[:, None]] = rounds
        dealt = dealt[permutation(key(self.seed, PretrainDraw.BALANCED_STEPS, read.epoch, read.unit), steps)]
        place = np.argsort(order)
        dealt = np.take_along_axis(dealt, np.argsort(place[dealt], axis=1), axis=1)
        return np.concatenate([dealt.reshape(-1), order[steps * each :]])

    def stream_length(self, stream: int) -> int:
        """Return the number of graphs in a stream per epoch."""
        units = self._train_units
        stream_units = len(range(stream, units, self.streams))
        last = units - 1
        missing = self.unit_rows - self._short_rows if last % self.streams == stream else 0
        return stream_units * self.unit_rows - missing if stream_units else 0

    @cached_property
    def _train_units(self) -> int:
        return len(_epoch_order(self, 0))

    @cached_property
    def _short_rows(self) -> int:
        return self.rows_of(int(_epoch_order(self, 0)[-1]))

    @property
    def graphs_per_epoch(self) -> int:
        """Number of training graphs."""
        return (self._train_units - 1) * self.unit_rows + self._short_rows

    @cached_property
    def steps_per_epoch(self) -> int:
        """Number of steps until the longest stream is exhausted; the last steps are smaller, nothing is dropped."""
        longest = max(self.stream_length(0), self.stream_length((self._train_units - 1) % self.streams))
        return -(-longest // self.per_stream)

    def takes(self, step: int, stream: int) -> list[RowSlice]:
        """Return the row slices that a stream contributes to global step ``step``; empty once it is exhausted in this epoch."""
        epoch, local = divmod(step, self.steps_per_epoch)
        low = local * self.per_stream
        high = min(low + self.per_stream, self.stream_length(stream))
        order, result = self.epoch_order(epoch), []
        while low < high:
            position, row = divmod(low, self.unit_rows)
            stop = min(high - position * self.unit_rows, self.unit_rows)
            read = UnitRef(epoch, stream, int(order[stream + position * self.streams]))
            result.append(RowSlice(read, row, stop))
            low = position * self.unit_rows + stop
        return result

    def reads(self, start: int, stop: int, rank: int, world_size: int, *, continued: bool = False) -> Iterator[UnitRef]:
        """Iterate over the units that a rank must read for steps start:stop, each once, in the order of first use.

        Args:
            start: first step.
            stop: one past the last step.
            rank: the rank.
            world_size: number of ranks.
            continued: whether the rank has taken step ``start - 1``, so that it holds the units of that step.
        """
        seen: dict[int, UnitRef] = {}
        if continued:
            seen = {take.read.stream: take.read for stream in range(rank, self.streams, world_size)
                    for take in self.takes(start - 1, stream)}  # fmt: skip
        for step in range(start, stop):
            for stream in range(rank, self.streams, world_size):
                for take in self.takes(step, stream):
                    if seen.get(stream) != take.read:
                        seen[stream] = take.read
                        yield take.read


@lru_cache(maxsize=2)
def _split_units(plan: Plan) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    count = round(plan.validation_fraction * plan.units)
    count = min(max(count, 1), plan.units - 1) if plan.validation_fraction > 0 else 0
    held = np.sort(first_of_permutation(key(plan.seed, PretrainDraw.HELD_OUT), plan.units, count))
    return np.delete(np.arange(plan.units), held), held


@lru_cache(maxsize=4)
def _epoch_order(plan: Plan, epoch: int) -> npt.NDArray[np.int64]:
    train, _ = plan.split_units()
    short = plan.units - 1
    has_short = plan.rows_of(short) < plan.unit_rows and train[-1] == short
    full = train[:-1] if has_short else train
    order = full[permutation(key(plan.seed, PretrainDraw.UNITS, epoch), len(full))]
    return np.append(order, short) if has_short else order

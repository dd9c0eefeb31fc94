"""The plan: which graphs make up which step. Pure integers; no data is opened and no state is kept.

Epoch e: the training units are permuted by (seed, e); stream v of V takes units v, v+V, ... of that order; the rows inside
a unit are permuted by (seed, e, unit). Step t takes b graphs from each stream, and rank r of W serves streams r, r+W, ...
So the global batch of a step is the same for every W and every graph comes exactly once per epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distgnn.errors import RequestError
from distgnn.graph.keyed import first_of_permutation, key, permutation
from distgnn.graph.purposes import PretrainDraw


class UnitRead(NamedTuple):
    """One read a rank has to do: the unit, the epoch whose row order and tasks it takes, and the stream that wants it."""

    epoch: int
    stream: int
    unit: int


class Take(NamedTuple):
    """Rows low:high, in the unit's permuted order, that a stream adds to a step."""

    read: UnitRead
    low: int
    high: int


@dataclass(frozen=True)
class Plan:
    """graphs, unit_rows: of the corpus. streams (V), per_stream (b), seed, validation_fraction: of the run.

    The unit that is shorter than the others (the corpus's last) always comes last in its epoch, which makes stream lengths
    the same in every epoch.
    """

    graphs: int
    unit_rows: int
    streams: int
    per_stream: int
    seed: int = 0
    validation_fraction: float = 0.0

    def __post_init__(self) -> None:
        if self.graphs < 1:
            raise RequestError("the corpus holds no graphs; nothing to plan")

    @property
    def units(self) -> int:
        """Units in the corpus."""
        return -(-self.graphs // self.unit_rows)

    def rows_of(self, unit: int) -> int:
        """Graphs in a unit."""
        return min(self.unit_rows, self.graphs - unit * self.unit_rows)

    def split_units(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(training units, held-out units), each ascending: a keyed choice, at least one held out where two exist."""
        return _split_units(self)

    def epoch_order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Training units in the order of an epoch, the short one last."""
        return _epoch_order(self, epoch)

    def row_order(self, read: UnitRead) -> npt.NDArray[np.int64]:
        """The permutation of a unit's rows in an epoch."""
        return permutation(key(self.seed, PretrainDraw.ROWS, read.epoch, read.unit), self.rows_of(read.unit))

    def stream_length(self, stream: int) -> int:
        """Graphs a stream gives per epoch."""
        units = self._train_units
        mine = len(range(stream, units, self.streams))
        last = units - 1
        missing = self.unit_rows - self._short_rows if last % self.streams == stream else 0
        return mine * self.unit_rows - missing if mine else 0

    @property
    def _train_units(self) -> int:
        return len(_epoch_order(self, 0))

    @property
    def _short_rows(self) -> int:
        return self.rows_of(int(_epoch_order(self, 0)[-1]))

    @property
    def graphs_per_epoch(self) -> int:
        """Training graphs."""
        return (self._train_units - 1) * self.unit_rows + self._short_rows

    @property
    def steps_per_epoch(self) -> int:
        """Steps until the longest stream is empty (the last ones are smaller; nothing is dropped)."""
        longest = max(self.stream_length(0), self.stream_length((self._train_units - 1) % self.streams))
        return -(-longest // self.per_stream)

    def takes(self, step: int, stream: int) -> list[Take]:
        """What a stream adds to global step ``step`` (empty once it has run dry in this epoch)."""
        epoch, local = divmod(step, self.steps_per_epoch)
        low = local * self.per_stream
        high = min(low + self.per_stream, self.stream_length(stream))
        order, result = self.epoch_order(epoch), []
        while low < high:
            turn, row = divmod(low, self.unit_rows)
            stop = min(high - turn * self.unit_rows, self.unit_rows)
            read = UnitRead(epoch, stream, int(order[stream + turn * self.streams]))
            result.append(Take(read, row, stop))
            low = turn * self.unit_rows + stop
        return result

    def reads(self, start: int, stop: int, rank: int, world_size: int) -> Iterator[UnitRead]:
        """Units a rank must read for steps start:stop, each once, in the order in which its batches need them."""
        seen: dict[int, UnitRead] = {}
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

"""Assembly of step batches from units, whether they come from this process or from Ray Data."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import accumulate, islice

import numpy as np
import numpy.typing as npt
import torch

from distgnn.corpus.plan import Plan, RowSlice, UnitRef
from distgnn.corpus.reader import CorpusReader
from distgnn.graph.batch import GraphBatch, Ragged, concat_graphs, cut_graphs, select_graphs, slice_graphs
from distgnn.graph.ragged import ranges

_LOCAL_THREADS, _REMOTE_THREADS, _UNITS_AHEAD = 2, 8, 16
Prepare = Callable[[GraphBatch, int, int], dict[str, Ragged]]


def read_unit(reader: CorpusReader, plan: Plan, prepare: Prepare, read: UnitRef) -> GraphBatch:
    """Read a unit in the row order of its epoch and compute its extras. A pure function of its arguments.

    Args:
        reader: the corpus.
        plan: the schedule.
        prepare: the objective's function of (graphs, seed, epoch) that returns extras by name.
        read: unit and epoch.
    """
    unit = reader.unit(read.unit)
    if plan.balanced:
        order = plan.balanced_order(read, (unit.node_ptr.diff() + unit.edge_ptr.diff()).numpy())
    else:
        order = plan.row_order(read)
    graphs = select_graphs(unit, torch.from_numpy(order))
    return replace(graphs, extras=prepare(graphs, plan.seed, read.epoch))


def local_units(reader: CorpusReader, plan: Plan, prepare: Prepare, reads: Iterable[UnitRef]) -> Iterator[GraphBatch]:
    """Read the units of ``reads`` in order in this process."""
    return (read_unit(reader, plan, prepare, read) for read in reads)


def threaded_units(
    reader: CorpusReader, plan: Plan, prepare: Prepare, reads: Iterable[UnitRef]
) -> Iterator[GraphBatch]:
    """Read the units of ``reads`` in order with a few threads of this process, at most 16 ahead; equal to ``local_units``.

    Remote storage gets more threads, which mostly wait.
    """
    pending, left = deque[Future[GraphBatch]](), iter(reads)
    pool = ThreadPoolExecutor(_LOCAL_THREADS if reader.folder.local else _REMOTE_THREADS, "distgnn-read")
    try:
        pending.extend(pool.submit(read_unit, reader, plan, prepare, read) for read in islice(left, _UNITS_AHEAD))
        while pending:
            unit = pending.popleft().result()
            pending.extend(pool.submit(read_unit, reader, plan, prepare, read) for read in islice(left, 1))
            yield unit
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def assemble(
    plan: Plan, start: int, stop: int, rank: int, world_size: int, units: Iterator[GraphBatch]
) -> Iterator[tuple[int, GraphBatch | None]]:
    """Assemble this rank's batch of each step.

    Args:
        plan: the schedule.
        start: first step.
        stop: one past the last step.
        rank: this rank.
        world_size: number of ranks.
        units: units in the order of ``plan.reads(start, stop, rank, world_size)``.

    Yields:
        (step, batch). Graphs are grouped by stream, delimited by ``stream_ptr`` (exhausted streams are left out); the
        batch is None if all streams of this rank are exhausted.
    """
    held: dict[UnitRef, GraphBatch] = {}
    for steps in _spans(plan, start, stop, rank, world_size):
        used = list(dict.fromkeys(take.read for _, takes in steps for take in takes))
        held = {read: held[read] if read in held else next(units) for read in used}
        ends = accumulate((unit.num_graphs for unit in held.values()), initial=0)
        first = dict(zip(used, ends, strict=False))
        rows = [(first[take.read] + take.low, take.high - take.low) for _, takes in steps for take in takes]
        if not rows:
            yield from ((step, None) for step, _ in steps)
            continue
        yield from _steps_of(_taken(concat_graphs(list(held.values())), np.array(rows).T), steps)


def _taken(graphs: GraphBatch, rows: npt.NDArray[np.int64]) -> GraphBatch:
    """Graphs of consecutive ranges of rows; views if they follow each other, as those of a rank with one stream do.

    Args:
        graphs: The graphs.
        rows: int64 [2, ranges], first row and number of rows of each range.
    """
    starts, counts = rows
    if np.array_equal(starts[1:], starts[:-1] + counts[:-1]):
        return slice_graphs(graphs, int(starts[0]), int(starts[-1] + counts[-1]))
    return select_graphs(graphs, torch.from_numpy(ranges(starts, counts)))


def _spans(plan: Plan, start: int, stop: int, rank: int, world_size: int) -> Iterator[list[tuple[int, list[RowSlice]]]]:
    """Runs of steps with the rows that a rank takes for each; it starts units in the first step of a run only."""
    span, held = list[tuple[int, list[RowSlice]]](), set[UnitRef]()
    for step in range(start, stop):
        takes = [take for stream in range(rank, plan.streams, world_size) for take in plan.takes(step, stream)]
        reads = {take.read for take in takes}
        if span and not reads <= held:
            yield span
            span, held = [], set()
        span.append((step, takes))
        held |= reads
    if span:
        yield span


def _steps_of(graphs: GraphBatch, steps: list[tuple[int, list[RowSlice]]]) -> Iterator[tuple[int, GraphBatch | None]]:
    """Cut ``graphs``, those of all ``steps`` in order, into step batches."""
    streams = [_stream_ptr(takes) for _, takes in steps]
    bounds = list(accumulate((ptr[-1] for ptr in streams), initial=0))
    for (step, takes), ptr, batch in zip(steps, streams, cut_graphs(graphs, bounds), strict=True):
        yield step, replace(batch, stream_ptr=torch.tensor(ptr)) if takes else None


def _stream_ptr(takes: list[RowSlice]) -> list[int]:
    sizes = dict.fromkeys((take.read.stream for take in takes), 0)
    for take in takes:
        sizes[take.read.stream] += take.high - take.low
    return list(accumulate(sizes.values(), initial=0))

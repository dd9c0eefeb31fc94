"""Assembly of step batches from units, whether they come from this process or from Ray Data."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

import torch

from distgnn.corpus.plan import Plan, RowSlice, UnitRef
from distgnn.corpus.reader import CorpusReader
from distgnn.graph.batch import GraphBatch, Ragged, concat_graphs, select_graphs, slice_graphs

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
    current: dict[int, tuple[UnitRef, GraphBatch]] = {}

    def graphs_of(take: RowSlice) -> GraphBatch:
        if take.read.stream not in current or current[take.read.stream][0] != take.read:
            current[take.read.stream] = take.read, next(units)
        return slice_graphs(current[take.read.stream][1], take.low, take.high)

    for step in range(start, stop):
        parts: list[GraphBatch] = []
        stream_ptr = [0]
        for stream in range(rank, plan.streams, world_size):
            slices = [graphs_of(take) for take in plan.takes(step, stream)]
            if slices:
                parts += slices
                stream_ptr.append(stream_ptr[-1] + sum(part.num_graphs for part in slices))
        yield step, replace(concat_graphs(parts), stream_ptr=torch.tensor(stream_ptr)) if parts else None

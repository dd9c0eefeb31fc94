"""From units to step batches: the same assembly whether units come from this process or through Ray Data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch

from distgnn.corpus.plan import Plan, Take, UnitRead
from distgnn.corpus.reader import CorpusReader
from distgnn.graph.batch import GraphBatch, Ragged, concat_graphs, select_graphs, slice_graphs

Prepare = Callable[[GraphBatch, int, int], dict[str, Ragged]]


def read_unit(reader: CorpusReader, plan: Plan, prepare: Prepare, read: UnitRead) -> GraphBatch:
    """A unit in the epoch's row order, with the objective's extras made for (plan.seed, epoch). Pure in its arguments."""
    order = torch.from_numpy(plan.row_order(read))
    graphs = select_graphs(reader.unit(read.unit), order)
    return replace(graphs, extras=prepare(graphs, plan.seed, read.epoch))


def local_units(reader: CorpusReader, plan: Plan, prepare: Prepare, reads: Iterable[UnitRead]) -> Iterator[GraphBatch]:
    """Units of ``reads`` in order, read here."""
    return (read_unit(reader, plan, prepare, read) for read in reads)


def assemble(
    plan: Plan, start: int, stop: int, rank: int, world_size: int, units: Iterator[GraphBatch]
) -> Iterator[tuple[int, GraphBatch | None]]:
    """(step, this rank's graphs) for steps start:stop; None where all its streams have run dry.

    ``units`` must follow ``plan.reads(start, stop, rank, world_size)``. Graphs lie stream by stream, marked by ``stream_ptr``
    (streams that give nothing are left out).
    """
    held: dict[int, tuple[UnitRead, GraphBatch]] = {}

    def graphs_of(take: Take) -> GraphBatch:
        if take.read.stream not in held or held[take.read.stream][0] != take.read:
            held[take.read.stream] = take.read, next(units)
        return slice_graphs(held[take.read.stream][1], take.low, take.high)

    for step in range(start, stop):
        parts: list[GraphBatch] = []
        stream_ptr = [0]
        for stream in range(rank, plan.streams, world_size):
            mine = [graphs_of(take) for take in plan.takes(step, stream)]
            if mine:
                parts += mine
                stream_ptr.append(stream_ptr[-1] + sum(part.num_graphs for part in mine))
        yield step, replace(concat_graphs(parts), stream_ptr=torch.tensor(stream_ptr)) if parts else None

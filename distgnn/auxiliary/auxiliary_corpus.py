"""Graphs of the pre-training corpus for auxiliary tasks: any step of its plan, read when asked for."""

from __future__ import annotations

from collections import OrderedDict

from distgnn.corpus.plan import Plan, UnitRef
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import assemble, read_unit
from distgnn.distributed import ProcessGroup
from distgnn.graph.batch import GraphBatch
from distgnn.objectives.base import no_extras


class AuxiliaryCorpus:
    """A corpus in the order of a pre-training plan: every graph once an epoch, a step's graphs a function of (seed, step).

    graphs: of a step, spread evenly over ``streams`` (rounded up). labels: whether the graphs come with y.
    """

    def __init__(self, uri: str, graphs: int, streams: int, seed: int, *, labels: bool = False) -> None:
        self.reader = CorpusReader(uri, labels=labels)
        manifest = self.reader.manifest
        self.schema = manifest.schema
        self.plan = Plan(manifest.graphs, manifest.unit_rows, streams, -(-graphs // streams), seed)
        self._units: OrderedDict[UnitRef, GraphBatch] = OrderedDict()

    def step(self, number: int, group: ProcessGroup) -> GraphBatch | None:
        """This rank's graphs of a step, whole streams marked by ``stream_ptr``; None where its streams have run dry."""
        plan, rank, size = self.plan, group.rank, group.world_size
        units = (self._unit(read) for read in plan.reads(number, number + 1, rank, size))
        return next(assemble(plan, number, number + 1, rank, size, units))[1]

    def _unit(self, read: UnitRef) -> GraphBatch:
        """A unit; the last one of every stream is kept, since the next steps go on in it."""
        if read not in self._units:
            self._units[read] = read_unit(self.reader, self.plan, no_extras, read)
            if len(self._units) > self.plan.streams:
                self._units.popitem(last=False)
        else:
            self._units.move_to_end(read)
        return self._units[read]

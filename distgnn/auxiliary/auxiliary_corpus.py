"""Reader of the pre-training corpus for auxiliary tasks: the graphs of any step of its schedule."""

from __future__ import annotations

from collections import OrderedDict

from distgnn.corpus.plan import Plan, UnitRef
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import assemble, read_unit
from distgnn.distributed import ProcessGroup
from distgnn.graph.batch import GraphBatch
from distgnn.objectives.base import no_extras


class AuxiliaryCorpus:
    """A corpus in the order of a pre-training schedule: each graph once per epoch.

    The graphs of a step are a function of (seed, step).

    Args:
        uri: URI of the corpus.
        graphs: Graphs per step, divided evenly over the streams (rounded up).
        streams: Number of streams.
        seed: Key of the order.
        labels: Whether to read the labels y.
    """

    def __init__(self, uri: str, graphs: int, streams: int, seed: int, *, labels: bool = False) -> None:
        self.reader = CorpusReader(uri, labels=labels)
        manifest = self.reader.manifest
        self.schema = manifest.schema
        self.plan = Plan(manifest.graphs, manifest.unit_rows, streams, -(-graphs // streams), seed)
        self._units: OrderedDict[UnitRef, GraphBatch] = OrderedDict()

    def step(self, number: int, group: ProcessGroup) -> GraphBatch | None:
        """Return this rank's graphs of a step, in whole streams (``stream_ptr``); None if its streams are exhausted."""
        plan, rank, size = self.plan, group.rank, group.world_size
        units = (self._unit(read) for read in plan.reads(number, number + 1, rank, size))
        return next(assemble(plan, number, number + 1, rank, size, units))[1]

    def _unit(self, read: UnitRef) -> GraphBatch:
        """Return a unit. The most recent unit of each stream is cached, since the next steps continue in it."""
        if read not in self._units:
            self._units[read] = read_unit(self.reader, self.plan, no_extras, read)
            if len(self._units) > self.plan.streams:
                self._units.popitem(last=False)
        else:
            self._units.move_to_end(read)
        return self._units[read]

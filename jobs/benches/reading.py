"""Benchmark reading: units of several ranks on a cluster of several raylets, each unit with 100 ms as from remote storage.

The head has no CPU, as in cluster/. Ray Data is measured once a rank reads nothing itself any more; until then it makes pauses, as
if it trained. Every unit carries who read it, where and when.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import ray
import torch
from ray.cluster_utils import Cluster
from ray.data import DataIterator

from distgnn.corpus.plan import Plan, RankReads
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources.motifs import MotifsConfig, MotifsSource
from distgnn.corpus.stream import threaded_units
from distgnn.corpus.writer import build_corpus
from distgnn.graph.batch import GraphBatch, Ragged
from distgnn.scale.pool import start_ray
from distgnn.scale.train.datasets import UnitConfig
from distgnn.scale.train.stream import UnitSource, ray_units

from .measure import Options, line
from .server import environment

_SHAPES = ((3, 3, 3), (8, 4, 4))
"""Ranks, nodes beside the head, and CPUs of a node."""
_READ_SECONDS, _PAUSE_SECONDS = 0.1, 0.25
_UNIT_ROWS, _PER_STREAM, _UNITS = 32, 16, 96
_LEFT_OUT, _LEAST = 32, 16
"""Units of a rank that are not timed, read ahead while it made pauses, and the fewest from which figures are taken."""
_OBJECT_STORE, _HEAD = 100 << 20, "node:__internal_head__"


def bench_reading(options: Options) -> Iterator[dict[str, Any]]:
    """Measure reading through Ray Data and by threads of the ranks."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = MotifsConfig(out=folder, graphs=_UNITS * _UNIT_ROWS, nodes=(4, 8))
        build_corpus(MotifsSource(corpus), folder, unit_rows=_UNIT_ROWS, shard_rows=_UNITS * _UNIT_ROWS)
        for ranks, nodes, cpus in _SHAPES[: 1 if options.quick else None]:
            with _cluster(nodes, cpus) as head:
                found = {side: taken(folder, side, ranks, 400 if options.quick else 500) for side in ("ray", "rank")}
            case = f"{ranks} ranks, {nodes} nodes x {cpus} CPUs, {1000 * _READ_SECONDS:g} ms a unit"
            yield from reading_lines(case, found, head, nodes * cpus - ranks)


class Read(NamedTuple):
    """A unit that a rank has taken.

    Attributes:
        node: First digits of the id of the node that read it.
        process: Process that read it.
        start: When that began.
        end: When it ended.
        taken: When the rank had it.
    """

    node: int
    process: int
    start: float
    end: float
    taken: float


@dataclass(frozen=True)
class Slow:
    """Transform that takes as long as remote storage, and notes who reads."""

    seconds: float

    def __call__(self, graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:  # noqa: ARG002
        """Return the extra "read" of the first graph: node, process, and microseconds."""
        start = time.time()
        time.sleep(self.seconds)
        values = [
            _digits(ray.get_runtime_context().get_node_id()),
            os.getpid(),
            *(int(1e6 * t) for t in (start, time.time())),
        ]
        ptr = torch.full((graphs.num_graphs + 1,), len(values))
        ptr[0] = 0
        return {"read": Ragged(torch.tensor(values), ptr)}


def _digits(node: str) -> int:
    return int(node[:12], 16)


@contextmanager
def _cluster(nodes: int, cpus: int) -> Iterator[int]:
    """Context manager that connects to a new cluster; yields the first digits of the head's id."""
    with environment(RAY_AUTH_MODE="disabled"):
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": _OBJECT_STORE},
        )
        try:
            for _ in range(nodes):
                cluster.add_node(num_cpus=cpus, object_store_memory=_OBJECT_STORE)
            with environment(RAY_ADDRESS=str(cluster.address)):
                start_ray(0)
            yield next(_digits(node["NodeID"]) for node in ray.nodes() if _HEAD in node["Resources"])
        finally:
            ray.shutdown()
            with suppress(AssertionError):
                cluster.shutdown()


def taken(uri: str, side: str, ranks: int, units: int) -> list[list[Read]]:
    """Units of each rank of a run that reads by ``side``, "ray" or "rank", and has no checkpoint."""
    reader = CorpusReader(uri)
    plan = Plan(reader.manifest.graphs, reader.manifest.unit_rows, ranks, _PER_STREAM)
    prepare, total = Slow(_READ_SECONDS), units * _UNIT_ROWS // _PER_STREAM
    with tempfile.TemporaryDirectory() as run:
        parts: list[dict[str, DataIterator] | None] = [None] * ranks
        if side == "ray":
            source = UnitSource(run, reader, plan, prepare, total)
            made = {name: make() for name, make in source.datasets().items()}
            parts = list(UnitConfig(ray.put(source)).configure(made, ranks))
        reads = [RankReads(plan, 0, total, rank, ranks) for rank in range(ranks)]
        asked = [_take.remote(reader, prepare, read, part) for read, part in zip(reads, parts, strict=True)]
        return ray.get(asked)


@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def _take(reader: CorpusReader, prepare: Slow, reads: RankReads, part: dict[str, DataIterator] | None) -> list[Read]:
    """Take the units of a rank."""
    if part is None:
        units, pause = threaded_units(reader, reads.plan, prepare, reads), False
    else:
        units, pause = ray_units(reader, reads.plan, prepare, reads, part.__getitem__), True
    found = list[Read]()
    for unit in units:
        node, process, start, end = unit.extras["read"].values.tolist()
        found.append(Read(node, process, start / 1e6, end / 1e6, time.time()))
        pause = pause and process == os.getpid()
        if pause:
            time.sleep(_PAUSE_SECONDS)
    return found


def reading_lines(case: str, found: dict[str, list[list[Read]]], head: int, free: int) -> Iterator[dict[str, Any]]:
    """Lines of the units of :func:`taken`, for ``free`` CPUs beside the ranks."""
    measured = {side: [_measured(reads, side == "ray") for reads in ranks] for side, ranks in found.items()}
    rates, gaps = (
        {side: [combine([each[n] for each in ranks])] for side, ranks in measured.items()}
        for n, combine in ((0, sum), (1, max))
    )
    yield line("reading", case, "units of all ranks", "units/s", rates["ray"], ("rank", rates["rank"]))
    yield line("reading", case, "longest gap of a rank", "s", gaps["ray"], ("rank", gaps["rank"]))
    busy = sum(each[2] for each in measured["ray"])
    yield line("reading", case, f"CPUs that read for Ray Data, of {free} beside the ranks", "CPUs", [busy])
    yield line("reading", case, "of these idle", "CPUs", [free - busy])
    for side, ranks in found.items():
        nodes = Counter(read.node for reads in ranks for read in reads)
        yield line("reading", case, f"{side}: units read on the head", "units", [float(nodes.pop(head, 0))])
        yield line("reading", case, f"{side}: units read on each other node", "units", list(map(float, nodes.values())))


def _measured(reads: list[Read], by_others: bool) -> tuple[float, float, float]:
    """Units per second, longest gap and reads at once of a rank; if ``by_others``, of the units that other processes read."""
    own = reads[0].process
    later = [read for read in reads if not by_others or read.process != own]
    if len(later) < _LEFT_OUT + _LEAST:
        raise SystemExit(f"Ray Data gave a rank {len(later)} of {len(reads)} units; is the machine busy?")
    later = later[_LEFT_OUT:]
    starts, ends = [read.start for read in later], [read.end for read in later]
    gaps = [after.taken - before.taken for before, after in pairwise(later)]
    rate = (len(later) - 1) / (max(ends) - min(ends))
    return rate, max(gaps), sum(map(float.__sub__, ends, starts)) / (max(ends) - min(starts))

"""Benchmark reading: units of several ranks on a cluster of several raylets, each unit with 100 ms as from remote storage.

The ranks are workers of Ray Train, which takes their CPUs off what Ray Data may use. The head has no CPU, as in cluster/. Until Ray
Data has caught up with it, a rank makes pauses, as if it trained. The start, until every rank has some units of Ray Data, is
measured apart from the steady state after it. Every unit carries who read it, where and when.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import ray
import ray.train
import torch
from ray.cluster_utils import Cluster
from ray.train import ScalingConfig

from distgnn.corpus.plan import Plan, RankReads
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources.motifs import MotifsConfig, MotifsSource
from distgnn.corpus.stream import threaded_units
from distgnn.corpus.writer import build_corpus
from distgnn.distributed import ProcessGroup
from distgnn.graph.batch import GraphBatch, Ragged
from distgnn.scale.pool import start_ray
from distgnn.scale.train.datasets import UnitConfig
from distgnn.scale.train.placement import HEAD, node_number
from distgnn.scale.train.stream import UnitSource, ray_units
from distgnn.scale.train.trainer import fit_trainer, rank_trainer, run_config
from distgnn.storage.folder import open_folder

from .measure import Options, line
from .server import environment

_SHAPES = ((3, 3, 3), (8, 4, 4))
"""Ranks, nodes beside the head, and CPUs of a node."""
_READ_SECONDS, _PAUSE_SECONDS = 0.1, 0.25
_UNIT_ROWS, _PER_STREAM, _UNITS = 32, 16, 96
_LEFT_OUT, _LEAST = 32, 16
"""Units of Ray Data that a rank takes before the steady state, read ahead while it made pauses, and the fewest in that state."""
_BLOCK = 8
"""Units that a task of Ray Data reads for a rank."""
_LONG_SECONDS = 1.5
"""A longer wait is looked into. A task of eight units takes 0.8 s, for which a rank waits where readers are as many as ranks."""
_OBJECT_STORE = 100 << 20


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
        asked: When the rank asked for it.
        taken: When the rank had it.
    """

    node: int
    process: int
    start: float
    end: float
    asked: float
    taken: float

    @property
    def wait(self) -> float:
        """Seconds that the rank waited for it."""
        return self.taken - self.asked


@dataclass(frozen=True)
class Slow:
    """Transform that takes as long as remote storage, and notes who reads."""

    seconds: float

    def __call__(self, graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:  # noqa: ARG002
        """Return the extra "read" of the first graph: node, process, and microseconds."""
        start = time.time()
        time.sleep(self.seconds)
        values = [
            node_number(ray.get_runtime_context().get_node_id()),
            os.getpid(),
            *(int(1e6 * t) for t in (start, time.time())),
        ]
        ptr = torch.full((graphs.num_graphs + 1,), len(values))
        ptr[0] = 0
        return {"read": Ragged(torch.tensor(values), ptr)}


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
            yield next(node_number(node["NodeID"]) for node in ray.nodes() if HEAD in node["Resources"])
        finally:
            ray.shutdown()
            with suppress(AssertionError):
                cluster.shutdown()


def taken(uri: str, side: str, ranks: int, units: int) -> list[list[Read]]:
    """Units of each rank of a run that reads by ``side``, "ray" or "rank", and has no checkpoint."""
    reader = CorpusReader(uri)
    plan = Plan(reader.manifest.graphs, reader.manifest.unit_rows, ranks, _PER_STREAM)
    prepare, total = Slow(_READ_SECONDS), units * _UNIT_ROWS // _PER_STREAM
    with tempfile.TemporaryDirectory() as run, redirect_stdout(sys.stderr):
        folder, failures = open_folder(run), list[Exception]()
        source = UnitSource(run, reader, plan, prepare, total)
        data = {"datasets": source.datasets(), "dataset_config": UnitConfig(ray.put(source))} if side == "ray" else {}
        scaling = ScalingConfig(num_workers=ranks, resources_per_worker={"CPU": 1}, placement_strategy="SPREAD")
        settings = {"source": source, "by_ray": side == "ray"}
        trainer = rank_trainer(f"{__name__}:take_units", settings, scaling, run_config(folder, side, 0), **data)
        fit_trainer(trainer, folder, failures)
        if failures:
            raise failures[0]
        return [[Read(*row) for row in json.loads(folder.read(_file(rank)))] for rank in range(ranks)]


def _file(rank: int) -> str:
    return f"rank-{rank}.json"


def take_units(settings: dict[str, Any], group: ProcessGroup) -> None:
    """Take the units of a rank, and write down what they say."""
    source: UnitSource = settings["source"]
    reads = RankReads(source.plan, 0, source.total, group.rank, group.world_size)
    parts, pause = (source.reader, source.plan, source.prepare, reads), settings["by_ray"]
    units = ray_units(*parts, cast(Any, ray.train.get_dataset_shard)) if pause else threaded_units(*parts)
    found, asked = list[Read](), time.time()
    for unit in units:
        node, process, start, end = unit.extras["read"].values.tolist()
        found.append(Read(node, process, start / 1e6, end / 1e6, asked, time.time()))
        pause = pause and process == os.getpid()
        if pause:
            time.sleep(_PAUSE_SECONDS)
        asked = time.time()
    open_folder(source.run).write(_file(group.rank), json.dumps(found).encode())


def reading_lines(case: str, found: dict[str, list[list[Read]]], head: int, free: int) -> Iterator[dict[str, Any]]:
    """Lines of the units of :func:`taken`, for ``free`` CPUs beside the ranks."""
    by_ray, by_rank = steady(found["ray"], [_caught_up(reads) for reads in found["ray"]]), steady(found["rank"])
    yield line("reading", case, "units of all ranks", "units/s", [by_ray.rate], ("rank", [by_rank.rate]))
    yield line("reading", case, "longest wait of a rank", "s", [by_ray.longest], ("rank", [by_rank.longest]))
    yield line("reading", case, f"CPUs that read for Ray Data, of {free} beside the ranks", "CPUs", [by_ray.busy])
    yield line("reading", case, "of these idle", "CPUs", [free - by_ray.busy])
    yield line("reading", case, "units that ranks read themselves", "units", [float(by_ray.own)])
    yield from start_lines(case, found["ray"])
    for name, low, high in (("start", 0.0, by_ray.begin), ("steady state", by_ray.begin, by_ray.end)):
        for metric, count in long_waits(found["ray"], low, high).items():
            yield line("reading", case, f"{name}: {metric}", "waits", [float(count)])
    for side, ranks in found.items():
        nodes = Counter(read.node for reads in ranks for read in reads)
        yield line("reading", case, f"{side}: units read on the head", "units", [float(nodes.pop(head, 0))])
        yield line("reading", case, f"{side}: units read on each other node", "units", list(map(float, nodes.values())))


def _caught_up(reads: list[Read]) -> int:
    """Index of the first unit that a rank has not read itself."""
    return next((n for n, read in enumerate(reads) if read.process != reads[0].process), len(reads))


@dataclass(frozen=True)
class Steady:
    """The time in which no rank starts or has ended.

    Attributes:
        begin: Its begin.
        end: Its end.
        rate: Units per second, of all ranks.
        longest: Seconds of the longest wait for a unit.
        busy: Reads at once by processes other than the ranks.
        own: Units that ranks read themselves.
    """

    begin: float
    end: float
    rate: float
    longest: float
    busy: float
    own: int


def steady(ranks: list[list[Read]], caught_up: list[int] | None = None) -> Steady:
    """Measure the steady state.

    Args:
        ranks: Units of each rank.
        caught_up: Index of the first unit of Ray Data of each rank, if it reads.

    Raises:
        SystemExit: If it is too short.
    """
    firsts = [first + _LEFT_OUT for first in caught_up or [0] * len(ranks)]
    least = min(len(reads) - first for reads, first in zip(ranks, firsts, strict=True))
    if least < _LEAST:
        raise SystemExit(f"a rank has {max(least, 0)} units in the steady state; is the machine busy?")
    begin = max(reads[first].taken for reads, first in zip(ranks, firsts, strict=True))
    end = min(reads[-1].taken for reads in ranks)
    inside = [read for reads in ranks for read in reads if begin < read.taken <= end]
    others = [read for read in inside if read.process not in {reads[0].process for reads in ranks}]
    busy = sum(read.end - read.start for read in others) / (end - begin)
    longest = max(read.wait for read in inside)
    return Steady(begin, end, len(inside) / (end - begin), longest, busy, len(inside) - len(others))


def start_lines(case: str, ranks: list[list[Read]]) -> Iterator[dict[str, Any]]:
    """Lines about the start, after the ranks have asked for their first units."""
    first = max(reads[0].wait for reads in ranks)
    caught_up = max(reads[_caught_up(reads)].taken - reads[0].asked for reads in ranks)
    longest = max(read.wait for reads in ranks for read in reads[: _caught_up(reads) + 1])
    yield line("reading", case, "start: first unit of the last rank", "s", [first])
    yield line("reading", case, "start: until every rank has units of Ray Data", "s", [caught_up])
    yield line("reading", case, "start: longest wait of a rank", "s", [longest])


def long_waits(ranks: list[list[Read]], low: float, high: float) -> dict[str, int]:
    """Count the long waits of a run that end between two times, and what may have caused them."""
    processes = {reads[0].process for reads in ranks}
    every = [read for reads in ranks for read in reads if read.process not in processes]
    first = {process: min(r.start for r in every if r.process == process) for process in {r.process for r in every}}
    caught_up = max(reads[_caught_up(reads)].taken for reads in ranks)
    waits = [
        (read, max(each.end for each in reads[n : n + _BLOCK]))
        for reads in ranks
        for n, read in enumerate(reads)
        if read.wait > _LONG_SECONDS and low < read.taken <= high
    ]
    return {
        f"waits over {_LONG_SECONDS:g} s": len(waits),
        "of these for the first unit of a process": sum(read.start == first.get(read.process) for read, _ in waits),
        "of these for a block that had been read before": sum(end < read.asked for read, end in waits),
        "of these while every rank waited": sum(_all_wait(ranks, (read.asked + read.taken) / 2) for read, _ in waits),
        "of these before every rank had units of Ray Data": sum(read.asked < caught_up for read, _ in waits),
    }


def _all_wait(ranks: list[list[Read]], moment: float) -> bool:
    return all(any(read.asked <= moment <= read.taken for read in reads) for reads in ranks)

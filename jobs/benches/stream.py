"""Benchmark stream: step batches through Ray Data against those of reading threads, and the time that training waits for data.

All processes of a measurement, those of Ray included, share the given cores. Ray Data is measured once the rank reads nothing
itself any more, and the first batch from the making of the dataset on.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import ray
import torch

from distgnn.cli import main
from distgnn.corpus.plan import Plan, RankReads
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import Prepare, assemble, threaded_units
from distgnn.graph.batch import GraphBatch, Ragged
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from distgnn.scale.pool import start_ray
from distgnn.scale.train.datasets import UnitConfig
from distgnn.scale.train.stream import UnitSource, ray_units

from .data import molecules
from .measure import Options, line
from .memory import apart

_CORES, _PAUSE_SECONDS = (1, 2), 0.05
_UNITS_LEFT_OUT = 32
"""Units that are not timed: what was read ahead while the rank made pauses."""


def bench_stream(options: Options) -> Iterator[dict[str, Any]]:
    """Measure both readers on one core and on two, and the share of training time spent waiting for data."""
    rows, epochs, runs = (20_000, 8, 1) if options.quick else (160_000, 4, 3)
    with molecules(rows) as (case, uri):
        for cores in _CORES[: os.cpu_count()]:
            found = apart(streams_on, uri, cores, epochs, runs)
            yield from stream_lines(f"{case}, {cores} core{'s' * (cores > 1)}", found)
        wait = data_wait(uri, steps=15 if options.quick else 150)
    yield line("stream", case, "share of training (GIN 5x300) waiting for data", "%", [100 * wait])


class Stream(NamedTuple):
    """Measurements of one stream of step batches.

    Attributes:
        first: Seconds to the first batch.
        rate: Graphs per second later.
    """

    first: float
    rate: float


def stream_lines(case: str, found: dict[str, list[Stream]]) -> Iterator[dict[str, Any]]:
    """Lines of the streams of :func:`streams_on`."""
    first, rate = ({side: [run[n] for run in runs] for side, runs in found.items()} for n in range(2))
    yield line("stream", case, "step batches with tasks", "graphs/s", rate["ray"], ("rank", rate["rank"]))
    yield line("stream", case, "first batch, warm", "s", first["ray"], ("rank", first["rank"]))
    yield line("stream", case, "first batch, no process of Ray Data yet", "s", first["cold"])


def streams_on(uri: str, cores: int, epochs: int, runs: int) -> dict[str, list[Stream]]:
    """Streams through Ray Data ("ray") and reading threads ("rank"), in turn, and the first one of a new Ray ("cold")."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])  # and of the processes that this one starts
    torch.set_num_threads(1)  # as in the prefetch thread
    start_ray(cores)
    try:
        found = {"cold": [measured(uri, epochs, ray_data=True)], "ray": list[Stream](), "rank": list[Stream]()}
        for _ in range(runs):
            for side in ("ray", "rank"):
                found[side].append(measured(uri, epochs, ray_data=side == "ray"))
        return found
    finally:
        ray.shutdown()


class _Noted:
    """Transform of the objective in the rank itself; counts its calls."""

    def __init__(self, prepare: Prepare) -> None:
        self.prepare, self.calls = prepare, list[int]()

    def __call__(self, graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:
        self.calls.append(graphs.num_graphs)
        return self.prepare(graphs, seed, epoch)


def measured(uri: str, epochs: int, *, ray_data: bool) -> Stream:
    """Measure the stream of one rank with 4 streams of 16 graphs over ``epochs``.

    The rank reads itself until Ray Data has caught up. It makes pauses until then, as if it trained.

    Raises:
        SystemExit: If that does not happen.
    """
    reader = CorpusReader(uri)
    plan = Plan(reader.manifest.graphs, reader.manifest.unit_rows, streams=4, per_stream=16)
    reads = RankReads(plan, 0, epochs * plan.steps_per_epoch, 0, 1)
    own, units, total = _Noted(L2P(L2PConfig()).prepare), 0, sum(1 for _ in reads)

    def counted(found: Iterator[GraphBatch]) -> Iterator[GraphBatch]:
        nonlocal units
        for unit in found:
            units += 1
            yield unit

    start = time.perf_counter()
    found = _through_ray(reader, own, reads) if ray_data else threaded_units(reader, plan, own, reads)
    batches = assemble(plan, 0, reads.stop, 0, 1, counted(found))
    next(batches)
    first = time.perf_counter() - start
    while ray_data and units <= len(own.calls):
        time.sleep(_PAUSE_SECONDS)
        if next(batches, None) is None:
            raise SystemExit(f"Ray Data gave none of {total} units; is the machine busy?")
    begin = units + _UNITS_LEFT_OUT
    while units < begin:
        next(batches)
    start = time.perf_counter()
    graphs = sum(batch.num_graphs for _, batch in batches if batch is not None)
    return Stream(first, graphs / (time.perf_counter() - start))


def _through_ray(reader: CorpusReader, own: Prepare, reads: RankReads) -> Iterator[GraphBatch]:
    """Units of a rank of a run that has no checkpoint; ``own`` prepares those that it reads itself."""
    with tempfile.TemporaryDirectory() as run:
        source = UnitSource(run, reader, reads.plan, L2P(L2PConfig()).prepare, reads.stop)
        datasets = {name: make() for name, make in source.datasets().items()}
        (parts,) = UnitConfig(ray.put(source)).configure(datasets, 1)
    return ray_units(reader, reads.plan, own, reads, parts.__getitem__)


def data_wait(uri: str, steps: int) -> float:
    """Return the share of a local L2P run's time spent waiting for batches, from its progress.json."""
    with tempfile.TemporaryDirectory() as out, redirect_stdout(sys.stderr):
        arguments = [
            "--corpus",
            uri,
            "--out",
            out,
            "--name",
            "wait",
            "--train.max-steps",
            str(steps),
            "--train.validation-fraction",
            "0",
        ]
        if main(["pretrain", *arguments]) != 0:
            raise SystemExit("the training run failed")
        return json.loads((Path(out) / "wait/progress.json").read_text())["metrics"]["data_wait"]

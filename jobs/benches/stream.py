"""Benchmark stream: step batches through Ray Data against the reader without Ray, and the time that training waits for data."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from distgnn.cli import main
from distgnn.corpus.plan import Plan
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import assemble, local_units
from distgnn.graph.batch import GraphBatch
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from distgnn.scale.pool import start_ray
from distgnn.scale.train.stream import ray_units

from .data import molecules
from .measure import Options, line


def bench_stream(options: Options) -> Iterator[dict[str, Any]]:
    """Measure both readers, and the share of training time spent waiting for data."""
    rows = 40_000 if options.quick else 160_000
    config = L2PConfig()
    start_ray(os.cpu_count() or 1)
    torch.set_num_threads(1)  # as in the prefetch thread
    with molecules(rows) as (case, uri):
        reader = CorpusReader(uri)
        plan = Plan(reader.manifest.graphs, reader.manifest.unit_rows, streams=4, per_stream=16)
        samples: dict[str, list[tuple[float, float]]] = {"ray": [], "local": []}
        cold, _ = timed_stream(
            islice(stream_batches(reader, plan, config, ray_units), 8)
        )  # includes the start of Ray processes
        for _ in range(2 if options.quick else 3):
            for name, units in (("ray", ray_units), ("local", local_units)):
                samples[name].append(timed_stream(stream_batches(reader, plan, config, units)))
        torch.set_num_threads(os.cpu_count() or 1)
        wait = data_wait(uri, steps=15 if options.quick else 150)
    rates = {name: [rate for _, rate in values] for name, values in samples.items()}
    yield line("stream", case, "step batches with tasks", "graphs/s", rates["ray"], ("local_reader", rates["local"]))
    yield line("stream", case, "first batch through Ray", "s", [first for first, _ in samples["ray"]])
    yield line("stream", case, "first batch while Ray starts its processes", "s", [cold])
    yield line("stream", case, "share of training (GIN 5x300) waiting for data", "%", [100 * wait])


def stream_batches(reader: CorpusReader, plan: Plan, config: L2PConfig, units: Any) -> Iterator[GraphBatch]:
    """Yield the step batches of one epoch; ``units`` reads the units."""
    stop = plan.steps_per_epoch
    batches = assemble(plan, 0, stop, 0, 1, units(reader, plan, L2P(config).prepare, plan.reads(0, stop, 0, 1)))
    return (batch for _, batch in batches if batch is not None)


def timed_stream(batches: Iterator[GraphBatch]) -> tuple[float, float]:
    """Return (seconds to the first batch, graphs per second of all batches)."""
    start = time.perf_counter()
    graphs = next(batches).num_graphs
    first = time.perf_counter() - start
    graphs += sum(batch.num_graphs for batch in batches)
    return first, graphs / (time.perf_counter() - start)


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

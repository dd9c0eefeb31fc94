"""The benchmark tables: python jobs/bench.py [NAME ...] [--json] [--quick] [--device cuda]

Both sides of every comparison do the same work in the same run, interleaved; a line holds medians. One JSON object a line:
{"bench", "case", "metric", "value", "unit", "baseline", "baseline_value", "ratio", "runs"} with ratio = value / baseline_value.
Real molecules of DISTGNN_DATA are used when they are there, planted motifs otherwise (the case says which).
Results also go to build/bench/NAME.json. Names: corpus_build tasks stream l2p_step.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import negative_sampling

from distgnn.cli import main
from distgnn.config import ArraysConfig, EncoderConfig, L2PConfig, MotifsConfig
from distgnn.corpus.plan import Plan
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources import SOURCES
from distgnn.corpus.stream import assemble, local_units
from distgnn.corpus.writer import build_corpus
from distgnn.graph.batch import GraphBatch, concat_graphs, slice_graphs
from distgnn.graph.pyg import to_pyg
from distgnn.learn.l2p import L2P, Tasks
from distgnn.learn.tasks import TaskBuilder
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.scale.pool import start_ray
from distgnn.scale.stream import ray_units

OUT = Path("build/bench")


@dataclass(frozen=True)
class Options:
    """Which benches to run and how."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Benches; none = all."""
    json: bool = False
    """One JSON object a line on stdout instead of a table."""
    quick: bool = False
    """Small sizes: an answer within 45 seconds."""
    device: str = "cpu"
    """Where the model benches compute."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a name and a piece of work that returns how many units it did (graphs, steps)."""

    name: str
    work: Callable[[], float]


def measure(sides: list[Side], runs: int) -> dict[str, list[float]]:
    """Seconds per unit of each side, interleaved so that drift of the machine meets all alike; one warm-up each."""
    for side in sides:
        side.work()
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(runs):
        for side in sides:
            start = time.perf_counter()
            units = side.work()
            seconds[side.name].append((time.perf_counter() - start) / units)
    return seconds


def line(
    bench: str, case: str, metric: str, unit: str, ours: list[float], against: tuple[str, list[float]] | None = None
) -> dict[str, Any]:
    """One result line from samples of our side and, where there is one, of the baseline's (name, samples)."""
    value = statistics.median(ours)
    base = statistics.median(against[1]) if against else None
    values = (bench, case, metric, value, unit, against and against[0], base, base and value / base, len(ours))
    keys = "bench", "case", "metric", "value", "unit", "baseline", "baseline_value", "ratio", "runs"
    return dict(zip(keys, values, strict=True))


def data_root() -> Path:
    """Where the real data lies."""
    return Path(os.environ.get("DISTGNN_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@contextmanager
def molecules(rows: int) -> Iterator[tuple[str, str]]:
    """(case name, URI) of a corpus of ``rows`` real molecules, or of planted motifs where there is no data."""
    arrays = sorted((data_root() / "molecules/arrays").glob("pretrain_*.npz"))
    with tempfile.TemporaryDirectory() as folder:
        if arrays:
            config: Any = ArraysConfig(input=tuple(map(str, arrays)), out=folder, limit=rows)
            kind, case = "arrays", "molecules"
        else:
            config, kind, case = MotifsConfig(out=folder, graphs=rows), "motifs", "motifs"
        build_corpus(SOURCES[kind][1](config), folder)
        yield case, folder


def bench_tasks(options: Options) -> Iterator[dict[str, Any]]:
    """L2P tasks on one core: a whole unit by sorts and hashes against a per-graph PyG transform and collation."""
    torch.set_num_threads(1)
    with molecules(2048) as (case, uri):
        reader = CorpusReader(uri)
        units = [reader.unit(i) for i in range(reader.manifest.units)]
    builder, epochs = TaskBuilder(children=1, support=10, query=5), cycle(range(10**6))
    data = [to_pyg(slice_graphs(units[0], i, i + 1))[0] for i in range(256)]

    def ours() -> float:
        epoch = next(epochs)
        for unit in units:
            builder(unit, 0, epoch)
        return sum(unit.num_graphs for unit in units)

    def ours_batched() -> float:
        epoch = next(epochs)
        for unit in units:
            ready = replace(unit, extras=builder(unit, 0, epoch))
            for start in range(0, unit.num_graphs, 64):
                concat_graphs([slice_graphs(ready, start, min(start + 64, unit.num_graphs))])
        return sum(unit.num_graphs for unit in units)

    def pyg() -> float:
        for start in range(0, len(data), 64):
            Batch.from_data_list([pyg_transform(graph) for graph in data[start : start + 64]])
        return len(data)

    seconds = measure([Side("tasks", ours), Side("batched", ours_batched), Side("pyg", pyg)], 3 if options.quick else 9)
    rates = {name: [1 / s for s in values] for name, values in seconds.items()}
    yield line("tasks", case, "tasks of a unit, one core", "graphs/s", rates["tasks"])
    yield line("tasks", case, "tasks and batches of 64", "graphs/s", rates["batched"], ("pyg_per_graph", rates["pyg"]))


def pyg_transform(graph: Data) -> Data:
    """What a PyG user writes: 15 random edges, cut 10 + 5, and as many sampled non-edges."""
    edges: Tensor = graph["edge_index"]
    picked = edges[:, torch.randperm(edges.shape[1])[:15]]
    negatives = negative_sampling(edges, graph.num_nodes, num_neg_samples=15)
    result = graph.clone()
    result.support_index, result.query_index = picked[:, :10], picked[:, 10:]
    result.support_negative_index, result.query_negative_index = negatives[:, :10], negatives[:, 10:]
    return result


def link_step(encoder: Encoder, batch: GraphBatch) -> Tensor:
    """Plain link prediction on the same query and support edges: one forward, node loss only."""
    tasks, nodes = Tasks(batch), encoder(batch)
    return tasks.support.node_loss(nodes).sum() + tasks.query.node_loss(nodes).sum()


def batch_shared_step(encoder: Encoder, batch: GraphBatch, config: L2PConfig) -> Tensor:
    """What the released L2P-GNN code does: one set of fast weights for the whole batch, mean losses, second order."""
    tasks, context = Tasks(batch), encoder.context(batch)
    objective = L2P(config)
    psi = {name: p for name, p in encoder.named_parameters() if name.startswith("layers.")}
    moved = objective.moved_dimensions(encoder, tasks, 0, 0)
    nodes = encoder(context)
    loss = tasks.support.node_loss(nodes).mean()
    grads = torch.autograd.grad(loss, list(psi.values()), create_graph=True)
    fast = {name: p - config.node_lr * g for (name, p), g in zip(psi.items(), grads, strict=True)}
    omega = encoder.omega.weight
    pooled = encoder.readout(nodes, tasks.membership(tasks.support))
    graph_loss = objective.graph_loss(pooled @ omega.t(), tasks, moved[0])
    fast_omega = omega - config.graph_lr * torch.autograd.grad(graph_loss, omega, create_graph=True)[0]
    adapted = torch.func.functional_call(encoder, fast, (context,))
    pooled = encoder.readout(adapted, tasks.membership(tasks.query))
    return tasks.query.node_loss(adapted).sum() + objective.graph_loss(pooled @ fast_omega.t(), tasks, moved[1])


def step_work(
    encoder: Encoder, batches: Iterator[GraphBatch], loss: Callable[[GraphBatch], Tensor]
) -> Callable[[], float]:
    """One forward and backward over the next batch."""

    def work() -> float:
        encoder.zero_grad()
        loss(next(batches)).backward()
        if encoder.omega.weight.is_cuda:
            torch.cuda.synchronize()
        return 1.0

    return work


def bench_l2p_step(options: Options) -> Iterator[dict[str, Any]]:
    """A second-order L2P step (GIN 5x300, 64 real molecules of ragged size) against batch-shared and plain link prediction."""
    torch.set_num_threads(os.cpu_count() or 1)
    config = L2PConfig()
    with molecules(2048) as (case, uri):
        reader = CorpusReader(uri)
        plan = Plan(reader.manifest.graphs, reader.manifest.unit_rows, streams=4, per_stream=16)
        units = local_units(reader, plan, L2P(config).prepare, plan.reads(0, plan.steps_per_epoch, 0, 1))
        made = assemble(plan, 0, plan.steps_per_epoch, 0, 1, units)
        batches = [batch.to(options.device) for _, batch in made if batch is not None and batch.num_graphs == 64]
    encoder = build_encoder(reader.manifest.schema, EncoderConfig(), 0).to(options.device)
    objective = L2P(config)
    losses: dict[str, Callable[[GraphBatch], Tensor]] = {
        "per_graph": lambda batch: objective.losses(encoder, batch, 0, 0).total,
        "batch_shared": lambda batch: batch_shared_step(encoder, batch, config),
        "plain_link": lambda batch: link_step(encoder, batch),
    }
    sides = [Side(name, step_work(encoder, cycle(batches), loss)) for name, loss in losses.items()]
    seconds = measure(sides, 5 if options.quick else 25)
    ms = {name: [1e3 * s for s in values] for name, values in seconds.items()}
    for baseline in ("batch_shared", "plain_link"):
        yield line("l2p_step", case, "second-order per-graph step", "ms", ms["per_graph"], (baseline, ms[baseline]))
    rates = [64 / s for s in seconds["per_graph"]]
    yield line("l2p_step", case, "per-graph L2P", "graphs/s", rates)


def bench_stream(options: Options) -> Iterator[dict[str, Any]]:
    """Step batches with tasks through Ray Data against the Ray-free reader, and the share of training spent waiting."""
    rows = 40_000 if options.quick else 160_000
    config = L2PConfig()
    start_ray(os.cpu_count() or 1)
    torch.set_num_threads(1)  # as in the thread that reads ahead of training
    with molecules(rows) as (case, uri):
        reader = CorpusReader(uri)
        plan = Plan(reader.manifest.graphs, reader.manifest.unit_rows, streams=4, per_stream=16)
        samples: dict[str, list[tuple[float, float]]] = {"ray": [], "local": []}
        cold, _ = timed_stream(islice(stream_batches(reader, plan, config, ray_units), 8))  # Ray starts its processes
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
    """One epoch of step batches, units read through ``units``."""
    stop = plan.steps_per_epoch
    made = assemble(plan, 0, stop, 0, 1, units(reader, plan, L2P(config).prepare, plan.reads(0, stop, 0, 1)))
    return (batch for _, batch in made if batch is not None)


def timed_stream(batches: Iterator[GraphBatch]) -> tuple[float, float]:
    """(seconds to the first batch, graphs per second over all of them)."""
    start = time.perf_counter()
    graphs = next(batches).num_graphs
    first = time.perf_counter() - start
    graphs += sum(batch.num_graphs for batch in batches)
    return first, graphs / (time.perf_counter() - start)


def data_wait(uri: str, steps: int) -> float:
    """Share of an in-process L2P run's time spent waiting for batches, as its progress.json says."""
    with tempfile.TemporaryDirectory() as out, redirect_stdout(sys.stderr):
        words = [
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
        if main(["pretrain", *words]) != 0:
            raise SystemExit("the training run failed")
        return json.loads((Path(out) / "wait/progress.json").read_text())["metrics"]["data_wait"]


def bench_corpus_build(options: Options) -> Iterator[dict[str, Any]]:
    """Building a corpus: graphs per second and bytes per graph, checksums and all."""
    rows = 40_000 if options.quick else 160_000
    built = [build_once(rows) for _ in range(2 if options.quick else 3)]
    case = built[0][0]
    yield line("corpus_build", case, "from packed arrays, one process", "graphs/s", [rate for _, rate, _ in built])
    yield line("corpus_build", case, "all files of the corpus", "bytes/graph", [size for _, _, size in built])


def build_once(rows: int) -> tuple[str, float, float]:
    """(case, graphs per second, bytes per graph) of one build."""
    start = time.perf_counter()
    with molecules(rows) as (case, uri):
        seconds = time.perf_counter() - start
        size = sum(file.stat().st_size for file in Path(uri).rglob("*") if file.is_file())
    return case, rows / seconds, size / rows


BENCHES = {
    "corpus_build": bench_corpus_build,
    "tasks": bench_tasks,
    "stream": bench_stream,
    "l2p_step": bench_l2p_step,
}


def run(options: Options) -> None:
    """Run the named benches and print their lines as they come."""
    unknown = set(options.names) - set(BENCHES)
    if unknown:
        sys.stderr.write(f"bench: unknown name {min(unknown)!r}; the names are: {', '.join(BENCHES)}\n")
        raise SystemExit(2)
    OUT.mkdir(parents=True, exist_ok=True)
    table = Table("bench", "case", "metric", "value", "unit", "baseline", "its value", "ratio", "runs")
    for name in options.names or BENCHES:
        lines = []
        for result in BENCHES[name](options):
            lines.append(result)
            table.add_row(
                *(f"{v:,.3g}" if isinstance(v, float) else "" if v is None else str(v) for v in result.values())
            )
            if options.json:
                print(json.dumps(result), flush=True)
        (OUT / f"{name}.json").write_text(json.dumps({"machine": machine(), "lines": lines}, indent=1) + "\n")
    if not options.json:
        Console(width=170).print(table)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpus": os.cpu_count(), "processor": platform.processor(), "torch": torch.__version__, "gpu": gpu}


if __name__ == "__main__":
    run(tyro.cli(Options, description=__doc__))

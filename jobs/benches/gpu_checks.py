"""Checks of what only a GPU can show; ``jobs/gpu_check.py`` runs each in a process of its own.

Every check returns a :class:`Finding`: rows for a table, and the reasons why it failed, if it did.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import ray
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

import distgnn
from distgnn import register
from distgnn.checkpoint.training_state import TrainState, make_state
from distgnn.config import EncoderConfig, PretrainConfig, TrainConfig
from distgnn.config.finetune import SplitConfig
from distgnn.corpus.manifest import read_manifest
from distgnn.corpus.stream import local_units
from distgnn.distributed import ProcessGroup, joined
from distgnn.graph.batch import GraphBatch, map_tensors
from distgnn.network.csr import Edges, build_network
from distgnn.network.network import Relation
from distgnn.network.store import save_network
from distgnn.pretraining.history import read_history
from distgnn.pretraining.host_to_device import send
from distgnn.pretraining.loop import Hooks, train
from distgnn.pretraining.memory import peak_memory_mb
from distgnn.pretraining.precision import autocast, matrix_products
from distgnn.pretraining.run import Start, new_start, resumed_start
from distgnn.pretraining.step import objective_of, outer_step
from distgnn.storage.folder import open_folder

from .data import molecules, step_batches
from .measure import finish
from .memory import peak_mb
from .throughput import throughput_lines

KINDS = ("gin", "gcn", "sage", "gat")
SMALL = EncoderConfig(layers=3, width=64)
_DOUBLE, _SINGLE, _TRAINED, _ROUNDED = 1e-10, 1e-4, 0.05, 0.5


@dataclass
class Finding:
    """Result of a check.

    Attributes:
        rows: Rows of its table; all have the same keys.
        failures: What is wrong; empty if the check passed.
        notes: What to know when reading the table.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def expect(self, ok: bool, failure: str) -> None:
        """Note ``failure`` unless ``ok``."""
        if not ok:
            self.failures.append(failure)


@dataclass(frozen=True)
class Case:
    """An objective, an encoder and a batch of a corpus.

    Attributes:
        uri: URI of the corpus.
        objective: Name of the objective.
        encoder: Config of the encoder.
        train: Training options; precision and seed matter.
    """

    uri: str
    objective: str = "l2p"
    encoder: EncoderConfig = SMALL
    train: TrainConfig = field(default_factory=TrainConfig)

    def state(self, device: str) -> TrainState:
        """A new training state on ``device``."""
        config = PretrainConfig("unused", objective=self.objective, encoder=self.encoder, train=self.train)
        return make_state(config, read_manifest(open_folder(self.uri)).schema, torch.device(device))

    def batch(self, per_stream: int = 16) -> GraphBatch:
        """The first training batch, 4 streams, on the CPU."""
        return step_batches(self.uri, objective_of(self.state("cpu")).prepare, 1, per_stream=per_stream)[0]

    def gradient(self, device: str, dtype: torch.dtype, batch: GraphBatch) -> tuple[float, Tensor]:
        """(loss, flat float64 gradient on the CPU) of ``batch`` computed on ``device`` in ``dtype``."""
        state = self.state(device)
        modules = (state.encoder.to(dtype).train(), objective_of(state).to(dtype).train())
        cast = map_tensors(batch.to(device), lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
        where = torch.device(device)
        with matrix_products(self.train, where), autocast(self.train, where):
            total = objective_of(state).losses(state.encoder, cast, 0, 0).total
            total.backward()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for module in modules for p in module.parameters()]
        return float(total.detach()), torch.cat([grad.flatten().double().cpu() for grad in grads])


def _difference(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-300))


def check_equality(device: str) -> Finding:
    """Loss and gradient on the GPU against the CPU, in float64 and float32, for every encoder and every objective."""
    finding = Finding(notes=["Relative error of the gradient against float64 on the CPU: norm of difference / norm."])
    with molecules(2048) as (_, uri):
        cases = [Case(uri, encoder=replace(SMALL, kind=kind)) for kind in KINDS]
        cases += [Case(uri, name) for name in register.objective.names() if name not in ("l2p", "supervised")]
        cases += [Case(uri, encoder=replace(SMALL, norm=norm)) for norm in ("layer", "graph", "batch", "none")]
        for case in cases:
            finding.rows.append(_equality(case, device, finding))
    return finding


def _equality(case: Case, device: str, finding: Finding) -> dict[str, Any]:
    batch = case.batch()
    loss, exact = case.gradient("cpu", torch.float64, batch)
    double_loss, double = case.gradient(device, torch.float64, batch)
    single = case.gradient(device, torch.float32, batch)[1]
    again = case.gradient(device, torch.float32, batch)[1]
    cpu = _difference(case.gradient("cpu", torch.float32, batch)[1], exact)
    name = f"{case.objective} {case.encoder.kind} {case.encoder.norm}"
    errors = _difference(double, exact), _difference(single, exact)
    finding.expect(errors[0] < _DOUBLE, f"{name}: float64 gradient differs from the CPU by {errors[0]:.1e}")
    finding.expect(abs(double_loss - loss) < _DOUBLE * abs(loss), f"{name}: float64 loss differs from the CPU")
    finding.expect(errors[1] < max(_SINGLE, 4 * cpu), f"{name}: float32 gradient has an error of {errors[1]:.1e}")
    row = {"objective": case.objective, "encoder": case.encoder.kind, "norm": case.encoder.norm}
    errors_of = {"float64 GPU": errors[0], "float32 GPU": errors[1], "float32 CPU": cpu}
    return {**row, **errors_of, "repeat bit-equal": bool(torch.equal(single, again))}


def check_precision(device: str) -> Finding:
    """Gradients with TF32 and bfloat16 against float32: 1 - cosine, and relative error of the loss."""
    finding = Finding()
    with molecules(2048) as (_, uri):
        for objective in ("l2p", "edgepred"):
            for kind in KINDS:
                finding.rows.append(_precision(Case(uri, objective, replace(SMALL, kind=kind)), device, finding))
    return finding


def _precision(case: Case, device: str, finding: Finding) -> dict[str, Any]:
    batch = case.batch()
    loss, wanted = case.gradient(device, torch.float32, batch)
    row: dict[str, Any] = {"objective": case.objective, "encoder": case.encoder.kind}
    for precision in ("tf32", "bf16"):
        found_loss, found = replace(case, train=TrainConfig(precision=precision)).gradient(device, torch.float32, batch)
        row[f"{precision} 1 - cosine"] = 1 - float(torch.cosine_similarity(found, wanted, dim=0))
        row[f"{precision} loss error"] = abs(found_loss - loss) / abs(loss)
    steep = case.objective == "l2p" and case.encoder.kind == "gin"  # any rounding turns it, see test_precision.py
    name, turned = f"{case.objective} {case.encoder.kind}", row["bf16 1 - cosine"]
    finding.expect(turned < (0.2 if steep else 0.02), f"{name}: bf16 turns the gradient")
    finding.expect(row["tf32 1 - cosine"] < turned, f"{name}: tf32 turns the gradient more than bf16")
    return row


def check_copies(device: str) -> Finding:
    """Page-locked copies on a side stream: bytes arrive unchanged, and a step does not wait for the next batch."""
    finding = Finding()
    with molecules(4096) as (_, uri):
        case = Case(uri)
        batches = step_batches(uri, objective_of(case.state("cpu")).prepare, 8, per_stream=64)
    arrived = [sent.arrived() for _, sent in send(iter(enumerate(batches)), torch.device(device)) if sent is not None]
    equal = all(
        torch.equal(a.cpu(), b)
        for x, y in zip(arrived, batches, strict=True)
        for a, b in zip(_all(x), _all(y), strict=True)
    )
    finding.expect(equal, "a batch changed on its way to the device")
    size = sum(tensor.nbytes for tensor in _all(batches[0]))
    for name, copy in _copies(batches, torch.device(device)).items():
        seconds = min(_timed(copy, device) for _ in range(5))
        gbps = len(batches) * size / seconds / 1e9
        finding.rows.append(
            {"copy": name, "batch MB": size / 1e6, "ms a batch": 1e3 * seconds / len(batches), "GB/s": gbps}
        )
    return finding


def _all(batch: GraphBatch) -> list[Tensor]:
    found: list[Tensor] = []
    map_tensors(batch, lambda tensor: (found.append(tensor), tensor)[1])
    return found


def _copies(batches: list[GraphBatch], device: torch.device) -> dict[str, Callable[[], object]]:
    return {
        "pageable": lambda: [batch.to(device) for batch in batches],
        "page-locked, side stream": lambda: [
            sent.arrived() for _, sent in send(iter(enumerate(batches)), device) if sent is not None
        ],
    }


def _timed(work: Callable[[], object], device: str) -> float:
    finish(device)
    start = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - start


def check_synchronisation(device: str) -> Finding:
    """Times the host waits for the GPU in one training step (torch.cuda.set_sync_debug_mode), and where."""
    finding = Finding(notes=["A step needs one: the read of its losses."])
    with molecules(2048) as (_, uri):
        for objective, kind in [*(("l2p", kind) for kind in KINDS), ("edgepred", "gin"), ("graphcl", "gin")]:
            case = Case(uri, objective, replace(SMALL, kind=kind))
            state, batch = case.state(device), case.batch().to(device)
            group = ProcessGroup.single_process(torch.device(device))
            for _ in range(2):
                outer_step(state, batch, case.train, group, epoch=0, lr=1e-3, stop=False)
            places = _waits(lambda: outer_step(state, batch, case.train, group, epoch=0, lr=1e-3, stop=False))  # noqa: B023
            row = {"objective": objective, "encoder": kind, "waits": len(places)}
            finding.rows.append({**row, "where": ", ".join(f"{p} x{places.count(p)}" for p in dict.fromkeys(places))})
    return finding


def _waits(work: Callable[[], object]) -> list[str]:
    if not torch.cuda.is_available():
        return []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [f"{os.path.basename(w.filename)}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)]


def _config(uri: str, out: str, name: str, device: str, **train: Any) -> PretrainConfig:
    options = {"max_steps": 8, "validation_fraction": 0.1, "validate_every": 0, "log_seconds": 0.0, **train}
    return PretrainConfig(
        corpus=uri,
        out=out,
        name=name,
        encoder=SMALL,
        train=TrainConfig(device=device, **options),  # type: ignore[arg-type]
    )


def _losses(run: distgnn.Run) -> Tensor:
    return torch.tensor([row["loss"] for row in read_history(run.folder) if "loss" in row], dtype=torch.float64)


def check_training(device: str) -> Finding:
    """Whole runs: GPU against CPU, repeated, exact, stopped and resumed across devices, batch size found, embeddings."""
    finding = Finding(notes=["Largest relative difference of a step's loss to 8 steps on the CPU."])
    with molecules(2048) as (_, uri), tempfile.TemporaryDirectory() as out:
        cpu = distgnn.pretrain(_config(uri, out, "cpu", "cpu"))
        wanted = _losses(cpu)

        def row(name: str, run: distgnn.Run, limit: float) -> Tensor:
            found = _losses(run)
            worst = float(((found - wanted) / wanted).abs().max())
            finding.expect(worst < limit, f"{name}: losses differ from the CPU's by {worst:.1e}")
            finding.rows.append({"run": name, "steps": len(found), "difference": worst, "status": run.status})
            return found

        once, twice = (
            row(f"GPU, run {n}", distgnn.pretrain(_config(uri, out, f"gpu{n}", device)), 0.02) for n in (1, 2)
        )
        finding.expect(torch.equal(once, twice), "two runs on the GPU are not bit-equal")
        for precision in ("tf32", "bf16"):
            run = distgnn.pretrain(_config(uri, out, precision, device, precision=precision))
            row(f"GPU, {precision}", run, _ROUNDED)
        row("GPU, exact", distgnn.pretrain(_config(uri, out, "exact", device, exact=True)), _TRAINED)
        for name, first, second in (("GPU then CPU", device, "cpu"), ("CPU then GPU", "cpu", device)):
            row(name, _resumed(uri, out, name.replace(" ", "-"), first, second), _TRAINED)
        sized = distgnn.pretrain(_config(uri, out, "sized", device, graphs_per_stream=0, max_steps=3))
        size, status = sized.config.train.graphs_per_stream, sized.status
        finding.rows.append(
            {"run": f"graphs_per_stream=0 found {size}", "steps": 3, "difference": 0.0, "status": status}
        )
        finding.expect(size > 0, "graphs_per_stream=0 found nothing")
    return finding


def _resumed(uri: str, out: str, name: str, first: str, second: str) -> distgnn.Run:
    """A run of 8 steps whose second half is on another device."""
    start = new_start(_config(uri, out, name, first))
    _train(start, first, until=4)
    moved = replace(start.run.config, train=replace(start.run.config.train, device=second))
    _train(resumed_start(start.run.folder.uri, moved), second)
    return distgnn.Run.open(start.run.folder.uri)


def _train(start: Start, device: str, until: int = 0) -> None:
    group = ProcessGroup.single_process(torch.device(device))
    hooks = Hooks(local_units, lambda: False, lambda _: None, until=until)
    train(start.run, start.reader, group, hooks)


def check_nccl(device: str) -> Finding:
    """NCCL: sums over one rank, over two where there are two GPUs, and a Ray Train worker with a GPU."""
    finding = Finding()
    ranks = min(2, max(torch.cuda.device_count(), 1))
    with tempfile.TemporaryDirectory() as folder:
        for size in range(1, ranks + 1):
            where = f"file://{folder}/group{size}"
            spawn(_sum_over_ranks, (size, where, device), size)  # raises if a rank fails
            finding.rows.append({"what": f"all_reduce over {size} rank(s)", "difference": 0.0})
    if ranks == 1:
        finding.notes.append("One GPU: two ranks were not tried.")
    with molecules(2048) as (_, uri), tempfile.TemporaryDirectory() as out:
        wanted = _losses(distgnn.pretrain(_config(uri, out, "here", device)))
        ray.init(address="local", num_cpus=4, num_gpus=ranks, include_dashboard=False, log_to_driver=False)
        try:
            config = replace(_config(uri, out, "ray", device), workers=2, min_workers=ranks)
            found = _losses(distgnn.pretrain(config))
        finally:
            ray.shutdown()
        worst = float(((found - wanted) / wanted).abs().max())
        finding.rows.append(
            {"what": f"8 steps in {ranks} Ray Train worker(s) against this process", "difference": worst}
        )
        finding.expect(worst < (_TRAINED), f"Ray Train: losses differ by {worst:.1e}")
    return finding


def _sum_over_ranks(rank: int, size: int, method: str, device: str) -> None:
    where = torch.device(f"cuda:{rank}" if device == "cuda" else "cpu")
    if where.type == "cuda":
        torch.cuda.set_device(where)
    with joined(rank, size, method, where):
        value = torch.full((1 << 20,), float(rank + 1), device=where, dtype=torch.float64)
        dist.all_reduce(value)
        if not bool((value == size * (size + 1) / 2).all()):
            raise RuntimeError(f"rank {rank} of {size}: the sum over ranks is wrong")


def check_labels(device: str) -> Finding:
    """Fine-tuning on a corpus and transfer on a network, against the CPU; embeddings of a checkpoint that the GPU wrote."""
    finding = Finding(notes=["Scores of the best epoch on the test part, x 100."])
    with tempfile.TemporaryDirectory() as out:
        distgnn.build_corpus("motifs", out=f"{out}/corpus", graphs=2048)
        distgnn.pretrain(_config(f"{out}/corpus", out, "run", device))
        _write_network(f"{out}/network")
        scores = {where: _scores(out, where) for where in ("cpu", device)}
        for name, wanted in scores["cpu"].items():
            found = scores[device][name]
            finding.rows.append({"what": name, "CPU": wanted, "GPU": found})
            finding.expect(abs(found - wanted) < 5.0, f"{name}: {found:.1f} on the GPU, {wanted:.1f} on the CPU")
        encoder = distgnn.load_encoder(f"{out}/run")
        batch = Case(f"{out}/corpus").batch()
        with torch.no_grad():
            wanted_rows = encoder(batch).graphs
            found_rows = encoder.to(device)(batch.to(device)).graphs.cpu()
        worst = _difference(found_rows.double(), wanted_rows.double())
        finding.rows.append({"what": "embeddings: relative difference", "CPU": 0.0, "GPU": worst})
        finding.expect(worst < _SINGLE, f"embeddings differ by {worst:.1e}")
    return finding


def _scores(out: str, device: str) -> dict[str, float]:
    split = SplitConfig("random", fractions=(0.6, 0.2, 0.2))
    options: dict[str, Any] = {"seeds": 1, "device": device}
    tuned = distgnn.finetune(
        corpus=f"{out}/corpus", checkpoint=(f"{out}/run",), split=split, out=f"{out}/f-{device}", epochs=3, **options
    )
    methods = ("fixed", "auxts_all")
    moved = distgnn.transfer(
        data=f"{out}/network", methods=methods, schemes=("scratch",), out=f"{out}/t-{device}", epochs=20, **options
    )
    found: dict[str, float] = {}
    for name, results in (("finetune", tuned), ("transfer", moved)):
        for record in results.comparison.records():
            if record["part"] == "test":
                found[" ".join((name, *(record[key] for key in ("method", "encoder", "metric") if record[key])))] = (
                    100 * record["value"]
                )
    return found


def _write_network(uri: str, nodes: int = 400) -> None:
    """Two classes of nodes joined to their like, with features that tell a little."""
    rng = np.random.default_rng(0)
    label = np.arange(nodes) % 2
    pairs = np.argwhere(rng.random((nodes, nodes)) < np.where(label[:, None] == label, 0.03, 0.003))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    features = (label[:, None] + rng.normal(size=(nodes, 4))).astype(np.float32)
    edges = Edges(Relation("cites", "paper", "paper"), pairs[:, 0], pairs[:, 1])
    labels = {"paper.label": label.astype(np.int64)}
    save_network(build_network({"paper": nodes}, [edges], {"paper": features}, labels, {}), uri)


def check_memory(device: str) -> Finding:
    """Peak memory of a second-order step of the default encoder by batch size."""
    finding = Finding()
    with molecules(4096) as (_, uri):
        case = Case(uri, encoder=EncoderConfig())
        state = case.state(device)
        for size in (16, 64, 256) if device == "cuda" else (16,):
            batch = case.batch(size).to(device)

            def step(batch: GraphBatch = batch) -> None:
                objective_of(state).losses(state.encoder, batch, 0, 0).total.backward()

            step()
            finding.rows.append(
                {"graphs": batch.num_graphs, "nodes": batch.num_nodes, "peak MB": peak_mb(step, device)}
            )
        finding.expect(peak_memory_mb(torch.device(device)) > 0, "no peak memory is reported")
    return finding


def check_speed(device: str) -> Finding:
    """Second-order steps of the default encoder: graphs/s, and shares of the matrix and copy ceilings, by batch size."""
    sizes = (64, 256, 1024, 4096) if device == "cuda" else (64,)
    finding = Finding()
    with molecules(4096) as (name, uri):
        for config in (EncoderConfig(), *([SMALL] if device == "cuda" else [])):
            for item in throughput_lines(uri, name, config, device, sizes):
                finding.rows.append({key: item[key] for key in ("case", "metric", "value", "unit")})
    return finding


CHECKS: dict[str, Callable[[str], Finding]] = {
    "equality": check_equality,
    "precision": check_precision,
    "training": check_training,
    "labels": check_labels,
    "nccl": check_nccl,
    "synchronisation": check_synchronisation,
    "copies": check_copies,
    "memory": check_memory,
    "speed": check_speed,
}

"""GPU checks of complete runs: pre-training, resuming on another device, NCCL, fine-tuning and transfer."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from typing import Any

import numpy as np
import ray
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

import distgnn
from distgnn.config import PretrainConfig, TrainConfig
from distgnn.config.finetune import SplitConfig
from distgnn.corpus.stream import local_units
from distgnn.distributed import ProcessGroup, joined
from distgnn.network.csr import Edges, build_network
from distgnn.network.network import Relation
from distgnn.network.store import save_network
from distgnn.pretraining.history import read_history
from distgnn.pretraining.loop import Hooks, train
from distgnn.pretraining.run import Start, new_start, resumed_start

from .data import molecules
from .gpu_values import SINGLE, SMALL, Case, Finding, difference

_TRAINED, _ROUNDED, _SUMMED = 0.05, 0.5, 2e-3
"""Largest relative difference of a step's loss: another device, lower precision, another order of sums."""


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
    """Complete runs: GPU against CPU, repeated, exact, stopped and resumed across devices, batch size found."""
    finding = Finding(notes=["Largest relative difference of a step's loss to 8 steps on the CPU."])
    with molecules(2048) as (_, uri), tempfile.TemporaryDirectory() as out:
        cpu = distgnn.pretrain(_config(uri, out, "cpu", "cpu"))
        expected = _losses(cpu)

        def row(name: str, run: distgnn.Run, limit: float) -> Tensor:
            found = _losses(run)
            worst = float(((found - expected) / expected).abs().max())
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
            {"run": f"graphs_per_stream=0 found {size}", "steps": 3, "difference": "", "status": status}
        )
        finding.expect(size > 0, "graphs_per_stream=0 found nothing")
    return finding


def _resumed(uri: str, out: str, name: str, first: str, second: str) -> distgnn.Run:
    """Train a run of 8 steps whose second half is on another device."""
    start = new_start(_config(uri, out, name, first))
    _train(start, ProcessGroup.single_process(torch.device(first)), until=4)
    resumed = replace(start.run.config, train=replace(start.run.config.train, device=second))
    _train(resumed_start(start.run.folder.uri, resumed), ProcessGroup.single_process(torch.device(second)))
    return distgnn.Run.open(start.run.folder.uri)


def _train(start: Start, group: ProcessGroup, until: int = 0) -> None:
    hooks = Hooks(local_units, lambda: False, lambda _: None, until=until)
    train(start.run, start.reader, group, hooks)


def check_nccl(device: str) -> Finding:
    """NCCL: all-reduce over one rank, over two if there are two GPUs, and a Ray Train worker with a GPU."""
    finding = Finding()
    ranks = min(2, max(torch.cuda.device_count(), 1))
    with tempfile.TemporaryDirectory() as folder:
        for size in range(1, ranks + 1):
            where = f"file://{folder}/group{size}"
            spawn(_sum_over_ranks, (size, where, device), size)  # raises if a rank fails
            finding.rows.append({"what": f"all_reduce over {size} rank(s)", "difference": 0.0})
    if ranks == 1:
        finding.notes.append("One GPU: two ranks were not tested.")
    with molecules(2048) as (_, uri), tempfile.TemporaryDirectory() as out:
        expected = _losses(distgnn.pretrain(_config(uri, out, "local", device)))
        ray.init(address="local", num_cpus=4, num_gpus=ranks, include_dashboard=False, log_to_driver=False)
        try:
            config = replace(_config(uri, out, "ray", device), workers=2, min_workers=ranks)
            found = _losses(distgnn.pretrain(config))
        finally:
            ray.shutdown()
        worst = float(((found - expected) / expected).abs().max())
        finding.rows.append(
            {"what": f"8 steps in {ranks} Ray Train worker(s) against this process", "difference": worst}
        )
        finding.expect(worst < _TRAINED, f"Ray Train: losses differ by {worst:.1e}")
    return finding


def _sum_over_ranks(rank: int, size: int, method: str, device: str) -> None:
    target = torch.device(f"cuda:{rank}" if device == "cuda" else "cpu")
    if target.type == "cuda":
        torch.cuda.set_device(target)
    backend = "nccl" if target.type == "cuda" else "gloo"  # one rank too, for which distgnn.distributed starts none
    dist.init_process_group(backend, init_method=method, rank=rank, world_size=size)
    try:
        value = torch.full((1 << 20,), float(rank + 1), device=target, dtype=torch.float64)
        dist.all_reduce(value)
        if not bool((value == size * (size + 1) / 2).all()):
            raise RuntimeError(f"rank {rank} of {size}: the sum over ranks is wrong")
    finally:
        dist.destroy_process_group()


def check_gloo(device: str) -> Finding:
    """Gloo, not NCCL, which refuses two ranks on one GPU: complete runs of two processes that share the device."""
    note = "Largest relative difference of a step's loss to 8 steps in one process. With train.exact there is none."
    finding = Finding(notes=[note])
    sums = {"plain": False, "exact": True}
    with molecules(2048) as (_, uri), tempfile.TemporaryDirectory() as out:
        configs = {name: _config(uri, out, name, device, exact=exact) for name, exact in sums.items()}
        starts = {name: replace(new_start(config), state=None) for name, config in configs.items()}
        spawn(_train_rank, (2, f"file://{out}/group", device, list(starts.values())), 2)  # raises if a rank fails
        for name, exact in sums.items():
            expected = _losses(distgnn.pretrain(replace(configs[name], name=f"{name}-alone")))
            found = _losses(distgnn.Run.open(starts[name].run.folder.uri))
            worst = float(((found - expected) / expected).abs().max())
            finding.rows.append({"run": f"2 ranks, {name}", "steps": len(found), "difference": worst})
            finding.expect(worst <= (0.0 if exact else _SUMMED), f"2 ranks, {name}: losses differ by {worst:.1e}")
    return finding


def _train_rank(rank: int, size: int, method: str, device: str, starts: list[Start]) -> None:
    """Train runs in one of several processes that share a device."""
    torch.set_num_threads(1)
    with joined(rank, size, method, torch.device("cuda:0" if device == "cuda" else device), "gloo") as group:
        for start in starts:
            _train(start, group)


def check_labels(device: str) -> Finding:
    """Fine-tuning on a corpus and transfer on a network, against the CPU; embeddings of a checkpoint that the GPU wrote."""
    finding = Finding(notes=["Scores of the best epoch on the test part, x 100."])
    with tempfile.TemporaryDirectory() as out:
        distgnn.build_corpus("motifs", out=f"{out}/corpus", graphs=2048, unit_rows=512)
        distgnn.pretrain(_config(f"{out}/corpus", out, "run", device))
        _write_network(f"{out}/network")
        scores = {name: _scores(out, name) for name in ("cpu", device)}
        for name, expected in scores["cpu"].items():
            found = scores[device][name]
            finding.rows.append({"what": name, "CPU": expected, "GPU": found})
            finding.expect(abs(found - expected) < 5.0, f"{name}: {found:.1f} on the GPU, {expected:.1f} on the CPU")
        encoder = distgnn.load_encoder(f"{out}/run")
        batch = Case(f"{out}/corpus").batch()
        with torch.no_grad():
            expected_rows = encoder(batch).graphs
            found_rows = encoder.to(device)(batch.to(device)).graphs.cpu()
        worst = difference(found_rows.double(), expected_rows.double())
        finding.rows.append({"what": "embeddings: relative difference", "CPU": 0.0, "GPU": worst})
        finding.expect(worst < SINGLE, f"embeddings differ by {worst:.1e}")
    return finding


def _scores(out: str, device: str) -> dict[str, float]:
    split = SplitConfig("random", fractions=(0.6, 0.2, 0.2))
    options: dict[str, Any] = {"seeds": 1, "device": device}
    finetuned = distgnn.finetune(
        corpus=f"{out}/corpus", checkpoint=(f"{out}/run",), split=split, out=f"{out}/f-{device}", epochs=3, **options
    )
    methods = ("fixed", "auxts_all")
    transferred = distgnn.transfer(
        data=f"{out}/network", methods=methods, schemes=("scratch",), out=f"{out}/t-{device}", epochs=20, **options
    )
    found: dict[str, float] = {}
    for name, results in (("finetune", finetuned), ("transfer", transferred)):
        for record in results.comparison.records():
            if record["part"] == "test":
                found[" ".join((name, *(record[key] for key in ("method", "encoder", "metric") if record[key])))] = (
                    100 * record["value"]
                )
    return found


def _write_network(uri: str, nodes: int = 400) -> None:
    """Write a network of two classes, most edges within a class, with features weakly correlated with the class."""
    rng = np.random.default_rng(0)
    label = np.arange(nodes) % 2
    pairs = np.argwhere(rng.random((nodes, nodes)) < np.where(label[:, None] == label, 0.03, 0.003))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    features = (label[:, None] + rng.normal(size=(nodes, 4))).astype(np.float32)
    edges = Edges(Relation("cites", "paper", "paper"), pairs[:, 0], pairs[:, 1])
    labels = {"paper.label": label.astype(np.int64)}
    save_network(build_network({"paper": nodes}, [edges], {"paper": features}, labels, {}), uri)

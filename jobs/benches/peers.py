"""Benchmark peers: what a user would write or install instead, on the same work.

1. Pre-training in one process, from graphs in memory (PyG) or a corpus on disk (distgnn): scripts in ``peer_scripts``, each run
   in a process of its own, checkpoints and validation of distgnn included. "lines" are those of the script without blank lines
   and comments.
2. A second-order L2P step of one batch: a loop over graphs with ``higher``, the same loop with plain autograd, and
   ``torch.func.vmap`` over padded graphs. All compute the same loss, which is checked.
3. A multi-task step: AUX-TS against aggregations of gradients by TorchJD, relative to fixed weights.

Libraries that are not installed (``pip install higher torchjd``) are left out, and named on stderr. learn2learn does what
``higher`` does and has no wheel; LibMTL 1.1.5 imports ``torchvision.models.utils``, which the torchvision of PyTorch 2.13 does not
have; a GNN on sampled databases as in RelBench needs pyg-lib, which PyPI does not have.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from distgnn.auxiliary.step import MultiTaskStep, StepRecord
from distgnn.config import EncoderConfig, NetworkTaskConfig
from distgnn.distributed import ProcessGroup
from distgnn.graph.batch import GraphBatch
from distgnn.models.encoder import Encoder
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from distgnn.objectives.l2p.task_batch import TaskBatch

from .data import molecules
from .l2p_sides import graphs_with_tasks
from .l2p_step import CONFIG, Setting, losses_of, step
from .measure import Options, Side, line, measure
from .weighting_step import Run, make_step, ratings_network, timed

SCRIPTS = Path(__file__).parent / "peer_scripts"


def bench_peers(options: Options) -> Iterator[dict[str, Any]]:
    """Measure on the CPU, one thread each."""
    torch.set_num_threads(1)
    with molecules(2048 if options.quick else 8192) as (case, uri):
        yield from pretraining_lines(uri, case, 4 if options.quick else 400, 1 if options.quick else 3)
        encoder = EncoderConfig(layers=2, width=32, norm="layer") if options.quick else EncoderConfig(norm="layer")
        yield from meta_lines(Setting(uri, encoder, 2, "cpu"), case, 2 if options.quick else 5)
    yield from weighting_lines(
        NetworkTaskConfig(), Run(batch=96) if options.quick else Run(), 2 if options.quick else 9
    )


def pretraining_lines(uri: str, case: str, steps: int, runs: int) -> Iterator[dict[str, Any]]:
    """Measure whole runs of GIN 3x64 in steps of 64 graphs, interleaved."""
    for objective in ("edgepred", "attrmasking"):
        sides = {
            "distgnn": ("distgnn_pretrain.py", ""),
            "PyG": ("pyg_pretrain.py", "0"),
            "PyG, 1 worker": ("pyg_pretrain.py", "1"),
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for _ in range(runs):
            for name, (script, last) in sides.items():
                with tempfile.TemporaryDirectory() as out:
                    found[name].append(_run_script(script, objective, uri, str(steps), last or out))
        rates = {name: [one["graphs"] / one["seconds"] for one in values] for name, values in found.items()}
        name = f"{case}, {objective}, gin 3x64, {steps} steps"
        for peer in list(sides)[1:]:
            yield line("peers", name, "pre-training", "graphs/s", rates["distgnn"], (peer, rates[peer]))
        memory = {side: [one["mb"] for one in values] for side, values in found.items()}
        yield line("peers", name, "peak memory of the processes", "MB", memory["distgnn"], ("PyG", memory["PyG"]))
    lines = {side: [float(_lines(SCRIPTS / script))] for side, (script, _) in sides.items()}
    yield line("peers", case, "lines that the user writes", "lines", lines["distgnn"], ("PyG", lines["PyG"]))


def _run_script(script: str, *words: str) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPTS.parents[2])}
    command = [sys.executable, str(SCRIPTS / script), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def _lines(path: Path) -> int:
    return sum(bool(text.strip()) and not text.lstrip().startswith("#") for text in path.read_text().splitlines())


def meta_lines(setting: Setting, case: str, runs: int) -> Iterator[dict[str, Any]]:
    """Measure L2P steps with layer norm, whose statistics do not depend on the other graphs."""
    encoder, batches = setting.load()
    losses: dict[str, Callable[[GraphBatch], Callable[[], Any]]] = {
        side: lambda batch, side=side: losses_of(side, encoder, batch) for side in ("per_graph", "loop", "vmap")
    }
    higher = _library("higher")
    if higher is not None:
        losses["higher"] = lambda batch: _higher(higher, encoder, batch)
    totals = {side: sum(float(part.detach()) for part in make(batches[0])()) for side, make in losses.items()}
    for side, total in totals.items():
        if abs(total - totals["loop"]) > 1e-3 * abs(total):
            raise AssertionError(f"{side} computes {total}, the loop {totals['loop']}")
    sides = []
    for side, make in losses.items():
        prepared = cycle([make(batch) for batch in batches])
        sides.append(Side(side, lambda prepared=prepared: step(encoder, next(prepared))))
    rates = {side: [64 / seconds for seconds in values] for side, values in measure(sides, runs).items()}
    name = f"{case}, gin {setting.encoder.layers}x{setting.encoder.width}, layer norm"
    for peer in list(losses)[1:]:
        yield line("peers", name, "second-order L2P per graph", "graphs/s", rates["per_graph"], (peer, rates[peer]))


def _higher(higher: ModuleType, encoder: Encoder, batch: GraphBatch) -> Callable[[], Iterator[Tensor]]:
    """Return the losses of all graphs, each adapted by ``higher``."""
    graphs = graphs_with_tasks(batch)
    return lambda: (_adapted_by(higher, encoder, graph, CONFIG) for graph in graphs)


def _adapted_by(higher: ModuleType, encoder: Encoder, graph: GraphBatch, config: L2PConfig) -> Tensor:
    """Return the query loss of a graph; compare ``explicit_step`` in l2p_sides."""
    tasks, context, objective = TaskBatch(graph), encoder.context(graph), L2P(config)
    moved, omega = objective.moved_dimensions(encoder, tasks, 0, 0), encoder.pooling.get_parameter("omega.weight")
    inner = torch.optim.SGD(encoder.psi.parameters(), lr=config.node_lr)
    with higher.innerloop_ctx(encoder, inner, copy_initial_weights=False) as (functional, optimiser):
        nodes = functional(context)
        pooled = encoder.readout(nodes, tasks.membership(tasks.support))
        graph_loss = objective.graph_loss(pooled @ omega.t(), tasks, moved[0])
        fast_omega = omega - config.graph_lr * torch.autograd.grad(graph_loss, omega, create_graph=True)[0]
        optimiser.step(tasks.support.node_loss(nodes).sum())
        adapted = functional(context)
    pooled = encoder.readout(adapted, tasks.membership(tasks.query))
    share = 1 / tasks.children.to(adapted.dtype)
    node_loss = (tasks.query.node_loss(adapted) * share[tasks.query.graph]).sum()
    return node_loss + objective.graph_loss(pooled @ fast_omega.t(), tasks, moved[1])


class TorchJDStep(MultiTaskStep):
    """A step whose gradient is an aggregation of the tasks' gradients by TorchJD."""

    aggregator: Any = None

    def step(self, number: int, batch: Any = None, unseen: Any = None, following: Sequence[Any] = ()) -> StepRecord:
        """See :class:`MultiTaskStep`; there is no judge, and the record is empty."""
        del unseen, following
        autojac = importlib.import_module("torchjd.autojac")
        target, auxiliary = self.problem.losses(batch)
        count = torch.stack([samples.count for samples in target]).sum()
        means = [torch.stack([samples.losses.sum() for samples in target]).sum() / count]
        means += [samples.losses.sum() / samples.count for samples in auxiliary]
        self.optimiser.zero_grad()
        autojac.backward(means, inputs=self.layout.parameters, parallel_chunk_size=1)
        autojac.jac_to_grad(self.layout.parameters, self.aggregator)
        self.optimiser.step()
        none = (float("nan"),) * len(self.problem.names)
        return StepRecord(number, none, none, none, none, float("nan"))


def weighting_lines(config: NetworkTaskConfig, run: Run, runs: int) -> Iterator[dict[str, Any]]:
    """Measure steps on the same batches."""
    name, network = ratings_network()
    config = replace(config, auxiliary=tuple(network.meta.get("paths", ())))
    steps = {
        side: make_step(side, network, config, run, "cpu") for side in ("fixed", "auxts_all by default", "auxts_all")
    }
    aggregation = _library("torchjd.aggregation")
    for kind in ("UPGrad", "PCGrad") if aggregation is not None else ():
        given = steps["fixed"]
        made = TorchJDStep(given.problem, given.weighting, run, ProcessGroup.single_process(torch.device("cpu")), 0)
        made.aggregator = getattr(aggregation, kind)()
        steps[f"TorchJD {kind}"] = made
    batches = {side: [made.fetch(number) for number in range(2)] for side, made in steps.items()}
    for side, made in steps.items():
        for number, batch in enumerate(batches[side]):
            made.step(number, batch)
    found = measure([replace(timed(made, batches[side]), name=side) for side, made in steps.items()], runs)
    ms = {side: [1e3 * seconds for seconds in values] for side, values in found.items()}
    case = f"{name}, {config.encoder} {config.layers}x{config.width}, {run.batch} rows"
    for side in list(steps)[1:]:
        yield line("peers", case, f"multi-task step, {side}", "ms", ms[side], ("fixed weights", ms["fixed"]))


def _library(name: str) -> ModuleType | None:
    with suppress(ImportError):
        return importlib.import_module(name)
    sys.stderr.write(f"peers: {name.partition('.')[0]} is not installed and is left out\n")
    return None

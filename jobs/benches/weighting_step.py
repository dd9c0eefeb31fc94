"""Benchmark weighting_step: a multi-task step of every weighting method against fixed weights, and against double backward.

Link prediction with five meta-path tasks and three folds, on Last-FM if DISTGNN_DATA has it, otherwise on a synthetic network.
All methods process the same batches; sampling is not timed, but for the held-out rows of "auxts_all by default". The others have
the options of the paper. The line "cost beyond fixed weights" compares the additional time of a
learned weighting with its additional time by double backward: with task gradients computed once ("by double backward"), and with
Algorithm 1 line by line ("as written").
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any

import numpy as np
import torch

from distgnn.auxiliary.network_tasks.build import build_problem
from distgnn.auxiliary.step import MultiTaskStep
from distgnn.auxiliary.weighting import build_weighting
from distgnn.config import NetworkTaskConfig, WeightingConfig
from distgnn.config.weighting import PUBLISHED
from distgnn.distributed import ProcessGroup
from distgnn.graph.keyed import below, draw, key
from distgnn.network.csr import Edges, both_ways, build_network
from distgnn.network.network import Network, Relation
from distgnn.network.sources.kgrec import KgrecConfig, build_kgrec

from .data import data_root
from .double_backward import AsWrittenStep, DoubleBackwardStep
from .measure import Options, Side, finish, line, measure

_METHODS: dict[str, dict[str, Any]] = {
    "fixed": {},
    "none": {},
    "cosine": {},
    "uncertainty": {},
    "frozen": {},
    "auxts_one": {},
    "auxts_all": {},
    "auxts_all by default": {name: getattr(WeightingConfig(), name) for name in PUBLISHED},
    "selar per task": {"granularity": "task"},
    "selar": {},
    "auxts_all per sample": {"granularity": "sample"},
}
_BASELINES: dict[str, type[MultiTaskStep]] = {" by double backward": DoubleBackwardStep, " as written": AsWrittenStep}
_EXPLICIT = {
    "auxts_all": tuple(_BASELINES),
    "selar": tuple(_BASELINES)[:1],
    "auxts_all per sample": tuple(_BASELINES)[:1],
}
_PATHS = ("user rated item a entity a^-1 item", "user rated item rated^-1 user rated item", "item b entity b^-1 item")


@dataclass(frozen=True)
class Run:
    """Options of a run that a step reads."""

    batch: int = 1024
    lr: float = 1e-3
    weight_decay: float = 0.0
    weighting: WeightingConfig = field(default_factory=WeightingConfig)


def bench_weighting_step(options: Options) -> Iterator[dict[str, Any]]:
    """Measure every method with GCN, the encoder of the paper, and GAT."""
    torch.set_num_threads(os.cpu_count() or 1)
    name, network = ratings_network()
    for encoder in ("gcn",) if options.quick else ("gcn", "gat"):
        config = NetworkTaskConfig(encoder=encoder, auxiliary=tuple(network.meta.get("paths", ())))
        run = Run(batch=96) if options.quick else Run()
        case = f"{name}, {encoder} {config.layers}x{config.width}, {run.batch} rows"
        yield from compared(case, network, config, run, options.device, 3 if options.quick else 15)


def ratings_network() -> tuple[str, Network]:
    """Return (name, network): Last-FM, or a synthetic network of users, items and entities."""
    path = data_root() / "kgrec/last-fm"
    if path.exists():
        return "last-fm", build_kgrec(KgrecConfig(input=str(path), out="", name="last-fm", columns="htr"))
    count = 4000
    ends = {kind: below(draw(key(7, n), np.arange(count)), np.full(count, 300)) for n, kind in enumerate("uieab")}
    edges = [Edges(Relation(name, "item", "entity"), ends["i"], ends[name]) for name in "ab"]
    tables = {"rating.user": ends["u"], "rating.item": ends["e"], "rating.label": np.arange(count) % 2}
    directed = [direction for found in edges for direction in both_ways(found)]
    network = build_network(dict.fromkeys(("user", "item", "entity"), 300), directed, tables=tables)
    return "synthetic ratings", replace(network, meta={"paths": list(_PATHS)})


def make_step(side: str, network: Network, config: NetworkTaskConfig, run: Run, device: str) -> MultiTaskStep:
    """Return the step of a method on its own problem, which starts like those of the other methods.

    Args:
        side: The method, followed by a key of ``_BASELINES`` for double backward.
        network: The network.
        config: Config of the problem.
        run: Options of the run.
        device: Device of the computation.
    """
    baseline = next((baseline for baseline in _BASELINES if side.endswith(baseline)), "")
    name = side.removesuffix(baseline)
    weighting = WeightingConfig(method=name.split(" ")[0], **PUBLISHED | _METHODS[name])  # pyright: ignore[reportArgumentType]
    group = ProcessGroup.single_process(torch.device(device))
    problem = build_problem(network, config, 0, group)
    module = build_weighting(weighting, problem.names, 0)
    return _BASELINES.get(baseline, MultiTaskStep)(problem, module, replace(run, weighting=weighting), group, 0)


def timed(step: MultiTaskStep, batches: list[Any]) -> Side:
    """Return a side that does one step per call."""
    numbered = cycle(enumerate(batches))

    def work() -> float:
        number, batch = next(numbered)
        step.step(number, batch)
        finish(step.layout.shared[0].device)
        return 1.0

    return Side("", work)


def compared(
    case: str, network: Network, config: NetworkTaskConfig, run: Run, device: str, runs: int
) -> Iterator[dict[str, Any]]:
    """Measure all methods, interleaved."""
    names = [*_METHODS, *(name + baseline for name, baselines in _EXPLICIT.items() for baseline in baselines)]
    steps = {name: make_step(name, network, config, run, device) for name in names}
    batches = {name: [step.fetch(number) for number in range(2)] for name, step in steps.items()}
    for name, step in steps.items():
        for number, batch in enumerate(batches[name]):
            step.step(number, batch)  # samples the subgraphs of the folds
    found = measure([replace(timed(step, batches[name]), name=name) for name, step in steps.items()], runs)
    ms = {name: [1e3 * seconds for seconds in samples] for name, samples in found.items()}
    for name in names[1:]:
        yield line("weighting_step", case, f"step, {name}", "ms", ms[name], ("fixed", ms["fixed"]))
    beyond = {name: [value - fixed for value, fixed in zip(ms[name], ms["fixed"], strict=True)] for name in names[1:]}
    for name, baselines in _EXPLICIT.items():
        for baseline in baselines:
            against = f"the same{baseline}", beyond[name + baseline]
            yield line("weighting_step", case, f"cost beyond fixed weights, {name}", "ms", beyond[name], against)

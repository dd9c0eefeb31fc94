"""Small runs for tests: in this process, in several gloo ranks, or as the command."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from distgnn.config import EncoderConfig, PretrainConfig, TrainConfig
from distgnn.corpus.stream import local_units
from distgnn.distributed import ProcessGroup
from distgnn.objectives.l2p.objective import L2PConfig
from distgnn.pretraining.history import read_history
from distgnn.pretraining.loop import Hooks, train
from distgnn.pretraining.run import Run, new_run, open_corpus
from distgnn.storage.folder import open_folder

CPU = torch.device("cpu")
# What ranks would import one by one, 2 s each.
_PRELOADED = [
    "tests.helpers.training",
    "torch._dynamo",  # imported by the first step of an optimiser
    "distgnn.objectives.multitask",
    "distgnn.graph.properties",
]
SMALL_ENCODER = EncoderConfig(layers=2, width=12)
# Seed 1: with seed 0 a rounding error tips a ReLU of identical nodes in step 3, and numbers of ranks differ by 1e-4 from there on.
SMALL_TRAIN = TrainConfig(
    seed=1,
    max_steps=12,
    order="shuffled",
    streams=3,
    graphs_per_stream=8,
    validation_fraction=0.1,
    validate_every=5,
    checkpoint_minutes=0,
    log_seconds=0,
    device="cpu",
)


def small(corpus: str, out: Path | str, name: str = "run", objective: Any = "l2p", **options: Any) -> PretrainConfig:
    """A run of seconds; ``options`` change fields of its TrainConfig."""
    return PretrainConfig(
        corpus=corpus,
        out=str(out),
        name=name,
        objective=objective,
        encoder=SMALL_ENCODER,
        options={"l2p": L2PConfig(support=4, query=3)},
        train=replace(SMALL_TRAIN, **options),
    )


class StopAfter:
    """should_stop of a rank: True at the n-th call (0 = never)."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


def ignore(_: object) -> None:
    """Show nothing."""


def train_rank(group: ProcessGroup, folder: str, config: PretrainConfig, stop_after: int = 0) -> str:
    """One rank's part of the run in ``folder``."""
    run = Run(open_folder(folder), config)
    return train(run, open_corpus(config), group, Hooks(local_units, StopAfter(stop_after), ignore))


def train_small(config: PretrainConfig, ranks: int = 1, stop_after: int = 0) -> Run:
    """Start the run of ``config`` and train it with that many ranks (one rank stays in this process)."""
    run = new_run(config)
    continue_small(run, ranks, stop_after)
    return run


def continue_small(run: Run, ranks: int = 1, stop_after: int = 0) -> str:
    """Train a run from its newest checkpoint."""
    job = partial(train_rank, folder=run.folder.uri, config=run.config, stop_after=stop_after)
    return job(ProcessGroup.single_process(CPU)) if ranks == 1 else run_ranks(ranks, job)[0]


def losses(run: Run) -> dict[int, float]:
    """Training loss by step."""
    return {row["step"]: row["loss"] for row in read_history(run.folder) if "loss" in row}


def validations(run: Run) -> dict[int, dict[str, float]]:
    """Validation metrics by step."""
    return {row["step"]: row["validation"] for row in read_history(run.folder) if "validation" in row}


def run_ranks(size: int, job: Callable[[ProcessGroup], Any]) -> list[Any]:
    """``job(group)`` in ``size`` gloo processes at once; results by rank. ``job`` must be picklable."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(size, mp_context=context) as pool:
        started = [pool.submit(_rank, rank, size, f"file://{folder}/group", job) for rank in range(size)]
        return [future.result(timeout=120) for future in started]


def _rank(rank: int, size: int, method: str, job: Callable[[ProcessGroup], Any]) -> Any:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=method, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    try:
        return job(ProcessGroup.detect(CPU))
    finally:
        dist.destroy_process_group()


def command(*words: str) -> list[str]:
    """The command line in a process of its own."""
    return [sys.executable, "-m", "distgnn.cli", *words]


def start_command(*words: str) -> subprocess.Popen[str]:
    """Start it, with both outputs captured."""
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=quiet)

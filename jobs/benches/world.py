"""Part of benchmark scaling: pre-training with one and two ranks on one machine, the all-reduce, and stalls by checkpoints.

Runs the training loop in processes of one torch thread each, connected by Gloo, without Ray, which takes no part in a step. The
time of the all-reduce includes waiting for the slower rank.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from distgnn.config import EncoderConfig, PretrainConfig, TrainConfig, from_json, to_json
from distgnn.corpus.stream import local_units
from distgnn.distributed import ProcessGroup
from distgnn.pretraining.history import read_history
from distgnn.pretraining.loop import Hooks, train
from distgnn.pretraining.run import Run, new_run, open_corpus
from distgnn.storage.folder import open_folder

from .data import molecules
from .measure import Options, line


@dataclass(frozen=True)
class TimedGroup(ProcessGroup):
    """Process group that records the seconds spent in each all_reduce."""

    spent: list[float] = field(default_factory=list)

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """See :class:`~distgnn.distributed.ProcessGroup`."""
        start = time.perf_counter()
        result = super().all_reduce(tensor)
        self.spent.append(time.perf_counter() - start)
        return result


def world_lines(options: Options) -> Iterator[dict[str, Any]]:
    """Measure the speed of two ranks against one, the share of a step in the all-reduce, and the stall by a checkpoint."""
    steps, runs = (40, 1) if options.quick else (60, 3)
    encoder = EncoderConfig(layers=3, width=100) if options.quick else EncoderConfig()
    with molecules(8192) as (case, uri), TemporaryDirectory() as out:
        train_config = TrainConfig(
            max_steps=steps, epochs=100, validation_fraction=0, checkpoint_every=8, checkpoint_minutes=0, log_seconds=0.2,
            device="cpu",
        )  # fmt: skip
        config = PretrainConfig(uri, out, encoder=encoder, train=train_config)
        measured = {size: [timed_run(config, size, f"{size}-{n}") for n in range(runs)] for size in (1, 2)}
    name = f"{case}, gin {encoder.layers}x{encoder.width}, one thread a rank"
    one, two = ([run.graphs_per_s for run in measured[size]] for size in (1, 2))
    yield line("scaling", name, "pre-training with 2 ranks", "graphs/s", two, ("one_rank", one))
    share = [100 * run.reducing for run in measured[2]]
    yield line("scaling", name, "share of a step in the all-reduce, 2 ranks", "%", share)
    every = [run for size in measured for run in measured[size]]
    stalls, blocking = ([1e3 * value for run in every for value in part(run)] for part in (_stalls, _blocking))
    yield line("scaling", name, "a checkpoint holds up training", "ms", stalls, ("written_in_the_loop", blocking))


@dataclass(frozen=True)
class Measured:
    """Measurements of one run.

    Attributes:
        graphs_per_s: Speed.
        reducing: Share of a step that rank 0 spends in all_reduce.
        stalls: Seconds by which each checkpoint stalls training.
        writes: Seconds to write each checkpoint.
    """

    graphs_per_s: float
    reducing: float
    stalls: list[float]
    writes: list[float]


def _stalls(run: Measured) -> list[float]:
    return run.stalls


def _blocking(run: Measured) -> list[float]:
    """Return the stalls of a loop that waits until its checkpoints are written."""
    return [stall + write for stall, write in zip(run.stalls, run.writes, strict=True)]


def timed_run(config: PretrainConfig, size: int, name: str) -> Measured:
    """Run ``config`` with ``size`` ranks."""
    run = new_run(replace(config, name=name))
    with TemporaryDirectory() as scratch:
        settings = (size, scratch, run.folder.uri, to_json(run.config))
        spawn(_rank, settings, nprocs=size)
        spent = json.loads((Path(scratch) / "spent.json").read_text())
    rows, train_config = read_history(run.folder), run.config.train
    speeds = [row["graphs_per_s"] for row in rows if "loss" in row]
    speed = statistics.median(speeds[1:] or speeds)  # the first interval includes the warm-up
    step_seconds = train_config.streams * train_config.graphs_per_stream / speed
    checkpoints = [row["checkpoint"] for row in rows if "checkpoint" in row][:-1]  # training waits for the last one
    return Measured(
        speed,
        statistics.median(spent) / step_seconds,
        [row["stall_seconds"] for row in checkpoints],
        [row["write_seconds"] for row in checkpoints],
    )


def _rank(rank: int, size: int, scratch: str, folder: str, config: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{scratch}/group", rank=rank, world_size=size)
    group = TimedGroup(rank, size, torch.device("cpu"))
    run = Run(open_folder(folder), from_json(PretrainConfig, config))
    train(run, open_corpus(run.config), group, Hooks(local_units, lambda: False, lambda _: None))
    if group.is_main_process:
        (Path(scratch) / "spent.json").write_text(json.dumps(group.spent))
    if size > 1:
        dist.destroy_process_group()

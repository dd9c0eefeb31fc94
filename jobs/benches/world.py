"""Benchmark world: pre-training with one and two ranks on one machine, the CPU seconds behind it, and stalls by checkpoints.

Runs the training loop in processes of one torch thread each: one rank; two ranks that Gloo connects, without Ray; two ranks as
workers of Ray Train; and two processes that train each as much as one of two ranks, without an all-reduce. CPU seconds are those of
a window that begins after the first steps and ends with the last one. The time of the all-reduce includes waiting for the slower
rank.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
import torch
from ray.train import ScalingConfig
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from distgnn.config import EncoderConfig, PretrainConfig, TrainConfig, from_json, to_json
from distgnn.corpus.stream import threaded_units
from distgnn.distributed import ProcessGroup, joined
from distgnn.pretraining.history import read_history
from distgnn.pretraining.loop import Hooks, train
from distgnn.pretraining.run import Run, new_run, open_corpus
from distgnn.scale.pool import start_ray
from distgnn.scale.train.trainer import fit_trainer, rank_trainer, run_config
from distgnn.storage.folder import open_folder

from .cpu_meter import RAY, CpuMeter
from .data import molecules
from .measure import Options, line

_ONE, _TWO, _ON_RAY, _APART = "1 rank", "2 ranks", "2 ranks on Ray", "2 processes apart"
_WARM_UP = 5
"""Steps before the window."""


@dataclass(frozen=True)
class TimedGroup(ProcessGroup):
    """Process group that takes notes at the all-reduce of each step.

    Attributes:
        notes: Time at its end, seconds in it, and the CPU seconds that the process and the thread have spent so far.
    """

    notes: list[tuple[float, float, float, float]] = field(default_factory=list)

    def timed_all_reduce(self, tensor: Tensor) -> tuple[Tensor, Callable[[], float]]:
        """See :class:`~distgnn.distributed.ProcessGroup`."""
        result, seconds = super().timed_all_reduce(tensor)
        self.notes.append((time.time(), seconds(), time.process_time(), time.thread_time()))
        return result, seconds


def bench_world(options: Options) -> Iterator[dict[str, Any]]:
    """Measure the speed of two ranks against one, the CPU seconds, the all-reduce, and the stall by a checkpoint."""
    steps, runs = (20, 1) if options.quick else (30, 2)
    encoder = EncoderConfig(layers=3, width=100) if options.quick else EncoderConfig()
    with molecules(8192) as (case, uri), TemporaryDirectory() as out:
        settings = TrainConfig(
            max_steps=steps, epochs=100, validation_fraction=0, checkpoint_every=8, checkpoint_minutes=0, log_seconds=0.2,
            device="cpu",
        )  # fmt: skip
        config = PretrainConfig(uri, out, encoder=encoder, train=settings)
        found: dict[str, list[Measured]] = {}
        for n in range(runs):
            for side, fit in _SIDES.items():
                found.setdefault(side, []).append(measured(replace(config, name=f"{side}-{n}".replace(" ", "-")), fit))
    yield from _lines(f"{case}, gin {encoder.layers}x{encoder.width}, one thread a rank", found)


@dataclass(frozen=True)
class Measured:
    """Measurements of a run, or of several at once.

    Attributes:
        graphs_per_s: Speed of all processes.
        reducing: Share of the time that rank 0 spends in all_reduce.
        cpu: CPU seconds for 1,000 graphs, by what spends them.
        cores: Cores that are in use, by the ranks and by everything.
        stalls: Seconds by which each checkpoint stalls training.
        writes: Seconds to write each checkpoint.
    """

    graphs_per_s: float
    reducing: float
    cpu: dict[str, float]
    cores: tuple[float, float]
    stalls: list[float]
    writes: list[float]


def _lines(name: str, found: dict[str, list[Measured]]) -> Iterator[dict[str, Any]]:
    def values(side: str, value: Callable[[Measured], float]) -> list[float]:
        return [value(run) for run in found[side]]

    for side in found:
        base = None if side == _ONE else (_ONE, values(_ONE, lambda run: run.graphs_per_s))
        yield line("world", name, f"{side}: speed", "graphs/s", values(side, lambda run: run.graphs_per_s), base)
    for side, runs in found.items():
        for part in runs[0].cpu:
            base = (
                (_ONE, values(_ONE, lambda run, part=part: run.cpu[part])) if side != _ONE and part not in RAY else None
            )
            spent = values(side, lambda run, part=part: run.cpu[part])
            yield line("world", name, f"{side}: {part}, for 1,000 graphs", "CPU s", spent, base)
    for side in found:
        yield line(
            "world", name, f"{side}: cores that its training uses", "cores", values(side, lambda run: run.cores[0])
        )
        yield line("world", name, f"{side}: cores that all use", "cores", values(side, lambda run: run.cores[1]))
    share = values(_TWO, lambda run: 100 * run.reducing)
    yield line("world", name, f"{_TWO}: share of a step in the all-reduce", "%", share)
    every = [run for runs in found.values() for run in runs]
    stalls, blocking = ([1e3 * value for run in every for value in part(run)] for part in (_stalls, _blocking))
    yield line("world", name, "a checkpoint holds up training", "ms", stalls, ("written_in_the_loop", blocking))


def _stalls(run: Measured) -> list[float]:
    return run.stalls


def _blocking(run: Measured) -> list[float]:
    """Return the stalls of a loop that waits until its checkpoints are written."""
    return [stall + write for stall, write in zip(run.stalls, run.writes, strict=True)]


Fit = Callable[[PretrainConfig, str], list[Run]]
"""Trains runs at once, each process of which leaves its notes in the folder."""


def measured(config: PretrainConfig, fit: Fit) -> Measured:
    """Measure the training of ``fit``."""
    with TemporaryDirectory() as scratch, CpuMeter() as meter:
        runs = fit(config, scratch)
        every = [json.loads(path.read_text())[_WARM_UP:] for path in Path(scratch).glob("*.json")]
    share = config.train.streams * config.train.graphs_per_stream / len(every)
    spans, graphs = [notes[-1][0] - notes[0][0] for notes in every], [share * (len(notes) - 1) for notes in every]
    process, thread = ([notes[-1][n] - notes[0][n] for notes in every] for n in (2, 3))
    speed = sum(map(float.__truediv__, graphs, spans))
    begin, end = max(notes[0][0] for notes in every), min(notes[-1][0] for notes in every)
    groups = meter.spent(begin, end)
    cpu = {"training threads": sum(thread), "other threads of the ranks": sum(process) - sum(thread)}
    cpu = {name: 1e3 * seconds / sum(graphs) for name, seconds in cpu.items()}
    cpu |= {name: 1e3 * groups[name] / (speed * (end - begin)) for name in RAY if name in groups}
    rows = [row["checkpoint"] for run in runs for row in read_history(run.folder) if "checkpoint" in row]
    return Measured(
        speed,
        statistics.median(note[1] for note in every[0]) / statistics.median(b[0] - a[0] for a, b in pairwise(every[0])),
        cpu,
        (sum(map(float.__truediv__, process, spans)), sum(groups.values()) / (end - begin)),
        [row["stall_seconds"] for row in rows],
        [row["write_seconds"] for row in rows],
    )


def _spawned(config: PretrainConfig, scratch: str, ranks: int, count: int = 1) -> list[Run]:
    """Train ``count`` runs at once, each with ``ranks`` ranks and its share of the streams, without Ray."""
    streams = config.train.streams // count
    names = [f"{config.name}-{n}" for n in range(count)]
    runs = [new_run(replace(config, name=name, train=replace(config.train, streams=streams))) for name in names]
    spawn(_process, (ranks, scratch, [run.folder.uri for run in runs], to_json(runs[0].config)), nprocs=ranks * count)
    return runs


def _process(index: int, ranks: int, scratch: str, folders: list[str], config: dict[str, Any]) -> None:
    """One process of :func:`_spawned`."""
    torch.set_num_threads(1)
    run, rank = divmod(index, ranks)
    with joined(rank, ranks, f"file://{scratch}/group-{run}", torch.device("cpu")) as group:
        _train({"folder": folders[run], "config": config, "notes": f"{scratch}/{index}.json"}, group)


def _on_ray(config: PretrainConfig, scratch: str) -> list[Run]:
    """Train a run with two ranks on Ray Train."""
    run = new_run(config)
    settings = {"folder": run.folder.uri, "config": to_json(run.config), "notes": scratch}
    start_ray(os.cpu_count() or 1)
    failures = list[Exception]()
    try:
        with redirect_stdout(sys.stderr):
            scaling = ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1})
            trainer = rank_trainer(f"{__name__}:train_on_ray", settings, scaling, run_config(run.folder, run.name, 0))
            fit_trainer(trainer, run.folder, failures)
    finally:
        ray.shutdown()
    if failures:
        raise failures[0]
    return [run]


def train_on_ray(settings: dict[str, Any], group: ProcessGroup) -> None:
    """One rank of :func:`_on_ray`."""
    torch.set_num_threads(1)
    _train({**settings, "notes": f"{settings['notes']}/{group.rank}.json"}, group)


def _train(settings: dict[str, Any], group: ProcessGroup) -> None:
    """Train in one rank, and write down the notes of its group."""
    timed = TimedGroup(group.rank, group.world_size, group.device)
    run = Run(open_folder(settings["folder"]), from_json(PretrainConfig, settings["config"]))
    train(run, open_corpus(run.config), timed, Hooks(threaded_units, lambda: False, lambda _: None))
    Path(settings["notes"]).write_text(json.dumps(timed.notes))


_SIDES: dict[str, Fit] = {
    _ONE: partial(_spawned, ranks=1),
    _TWO: partial(_spawned, ranks=2),
    _ON_RAY: _on_ray,
    _APART: partial(_spawned, ranks=1, count=2),
}

"""Estimate of a sweep from a few measured steps of a trial at the default values. Nothing is written and Ray is not started."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, replace

import torch

from distgnn.auxiliary.data_source import DataSource, InitialEncoder
from distgnn.auxiliary.jobs import Job, RunJob, global_seed
from distgnn.auxiliary.trainer import update_running_stats
from distgnn.config import TuneConfig
from distgnn.config.transfer import CONTROL
from distgnn.distributed import ProcessGroup, choose_device
from distgnn.finetuning.comparison import finetune_source
from distgnn.pretraining.estimate import PretrainEstimate
from distgnn.pretraining.estimate import estimate as estimate_pretraining
from distgnn.pretraining.memory import peak_memory_mb
from distgnn.search.capacity import NodeResources, capacity_of
from distgnn.search.joint import method_of, search_source
from distgnn.search.records import Sweep
from distgnn.search.scoring import search_data
from distgnn.search.space import Params
from distgnn.search.sweep import new_sweep, searcher_of
from distgnn.search.trial import planned
from distgnn.storage.folder import Folder

_STEPS = 5


@dataclass(frozen=True)
class SweepEstimate:
    """What a sweep would do, and its cost.

    Attributes:
        sweep: Folder that the sweep would write.
        kind: What a trial does: pretrain (and fine-tune), finetune, or transfer.
        trials: Number of trials.
        searcher: Search algorithm.
        scheduler: Trial scheduler.
        space: Domain of each searched field.
        defaults: Values of the searched fields at which the measurement was made.
        metric: Score of a trial.
        rungs: Lengths at which a trial is scored; the last is its full length.
        axis: Unit of the rungs: steps, seeds or epochs.
        cpus_per_trial: CPUs of each process of a trial.
        gpus_per_trial: GPUs of each process of a trial.
        workers_per_trial: Processes of a trial.
        concurrency: Trials at a time on this machine; 0 = none fits here.
        pretraining: The pre-training of a trial; None if trials do not pre-train.
        training_seconds: Seconds of one training on labels with all its epochs.
        trial_seconds: Seconds of a full trial, all rungs scored.
        final_seconds: Seconds of the final evaluation, without a pre-training of the default configuration that it may need.
        seconds: Seconds of the sweep on this machine if no trial ends early; 0 if no trial fits here.
        peak_memory_mb: Peak memory of a process of a trial.
    """

    sweep: str
    kind: str
    trials: int
    searcher: str
    scheduler: str
    space: dict[str, str]
    defaults: Params
    metric: str
    rungs: tuple[int, ...]
    axis: str
    cpus_per_trial: float
    gpus_per_trial: float
    workers_per_trial: int
    concurrency: int
    pretraining: PretrainEstimate | None
    training_seconds: float
    trial_seconds: float
    final_seconds: float
    seconds: float
    peak_memory_mb: float


def estimate(config: TuneConfig) -> SweepEstimate:
    """Check a new sweep as :func:`~distgnn.search.sweep.new_sweep` does, and measure a few steps of a trial in this process.

    Raises:
        RequestError: The sweep could not be started, or (unless RAY_ADDRESS names a cluster) no trial fits this machine.
    """
    folder, sweep = new_sweep(config)
    config = sweep.config
    concurrency = _concurrency(config)
    before = _pretraining(sweep, folder) if sweep.kind == "pretrain" else None
    training = _training_seconds(sweep, folder)
    seeds = {"pretrain": len(sweep.rungs) * config.finetune.seeds, "finetune": sweep.budget}
    trial = (before.seconds if before else 0.0) + seeds.get(sweep.kind, config.transfer.seeds) * training
    final = 2 * config.final_seeds * training
    rounds = math.ceil(sweep.trials / concurrency) if concurrency else 0
    return SweepEstimate(
        sweep=folder.uri,
        kind=sweep.kind,
        trials=sweep.trials,
        searcher=searcher_of(config),
        scheduler=config.scheduler,
        space=sweep.space,
        defaults=sweep.default,
        metric=sweep.metric,
        rungs=sweep.rungs,
        axis=config.axis,
        cpus_per_trial=config.cpus_per_trial,
        gpus_per_trial=config.gpus_per_trial,
        workers_per_trial=config.workers_per_trial,
        concurrency=concurrency,
        pretraining=before,
        training_seconds=training,
        trial_seconds=trial,
        final_seconds=final,
        seconds=rounds * trial + final if concurrency else 0.0,
        peak_memory_mb=peak_memory_mb(choose_device(config.devices[0])),
    )


def _concurrency(config: TuneConfig) -> int:
    """Return the number of trials at a time on this machine; what ``config`` says if the sweep would join a cluster."""
    if os.environ.get("RAY_ADDRESS"):
        return config.concurrency
    here = NodeResources(float(os.cpu_count() or 1), float(torch.cuda.device_count()))
    return capacity_of(config, [here]).concurrency


def _pretraining(sweep: Sweep, folder: Folder) -> PretrainEstimate:
    config = planned(sweep.config.pretrain, sweep.budget)
    return estimate_pretraining(replace(config, out=folder.uri, name="trial", workers=sweep.config.workers_per_trial))


def _training_seconds(sweep: Sweep, folder: Folder) -> float:
    """Return the seconds of one training on labels, with all its epochs."""
    config = sweep.config
    if sweep.kind == "transfer":
        settings = replace(config.transfer, epochs=sweep.budget)
        device = choose_device(settings.device).type
        return sweep.budget * _epoch_seconds(search_source(settings), device, method_of(settings), folder)
    tuned = config.finetune
    start = (
        InitialEncoder("trial", config.pretrain.encoder)
        if sweep.kind == "pretrain"
        else InitialEncoder.load(tuned.checkpoint[0], "trial")
    )
    source = finetune_source(tuned, search_data(tuned), [start])
    return tuned.epochs * _epoch_seconds(source, choose_device(tuned.device).type, CONTROL, folder)


def _epoch_seconds(source: DataSource, device: str, method: str, folder: Folder) -> float:
    """Measure a few steps and one validation of a training from scratch; return the seconds of an epoch."""
    group = ProcessGroup.single_process(torch.device(device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(global_seed(0, 0))
        trainer = RunJob(source, folder, device).begin(Job(0, "scratch", 0, method), group)
        trainer.step.step(0)  # a warm-up
        count = trainer.step.batches.steps_per_epoch
        number = min(_STEPS, count)
        start = time.perf_counter()
        for place in range(number):
            trainer.step.step(place)
            update_running_stats(trainer.problem.shared, group)
        middle = time.perf_counter()
        trainer.problem.evaluate("val")
    return (middle - start) / number * count + time.perf_counter() - middle

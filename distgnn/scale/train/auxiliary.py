"""Auxiliary-task training on Ray Train: one worker group runs the jobs in sequence, each on all ranks.

A restarted worker group continues with the first job whose result file is missing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.train import ScalingConfig, TrainingFailedError

from distgnn.auxiliary.jobs import Job, RunJob
from distgnn.config import TransferConfig
from distgnn.corpus.writer import Mapper
from distgnn.distributed import ProcessGroup, uses_gpus
from distgnn.errors import RequestError, WorkError
from distgnn.scale.pool import possible_resources, shared_cpus, start_ray
from distgnn.scale.train.failures import cause_of, forget_failure, has_failed, note_failure, raise_noted
from distgnn.scale.train.recovery import default_environment
from distgnn.scale.train.trainer import fit_trainer, rank_trainer, run_config

_POLL_SECONDS = 0.2
_QUIET = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}


def ranked_map(config: TransferConfig) -> Mapper:
    """Return a map over jobs, each run by ``config.ranks`` Ray Train workers. Results are read from files, in order.

    Connects to Ray (RAY_ADDRESS, or this process's own) or starts a local instance.

    Args:
        config: Config of the comparison.

    Returns:
        The map. It raises RequestError if the cluster has too few GPUs, and RequestError and WorkError of workers unchanged.
    """
    return _RankedMap(config)


@dataclass(frozen=True)
class _RankedMap:
    config: TransferConfig

    def __call__(self, function: Any, jobs: Iterable[Any]) -> Iterator[Any]:
        started = not ray.is_initialized()
        start_ray(os.cpu_count() or 1)
        try:
            forget_failure(function.folder)
            with default_environment(_QUIET):
                yield from self._results(function, list(jobs))
        finally:
            forget_failure(function.folder)
            if started:
                ray.shutdown()

    def _results(self, function: RunJob, jobs: list[Job]) -> Iterator[Any]:
        """Run the trainer in a thread, since in the main thread it handles SIGINT, and wait for result files."""
        scaling, failures = self._scaling(), list[Exception]()
        thread = threading.Thread(target=self._fit, args=(scaling, function, jobs, failures), daemon=True)
        thread.start()
        for job in jobs:
            while thread.is_alive() and not function.done(job):
                thread.join(_POLL_SECONDS)
            if not function.done(job):
                raise_noted(function.folder)
                raise _raised(failures)
            yield function.load(job)
        thread.join()

    def _scaling(self) -> ScalingConfig:
        ranks, most = self.config.ranks, possible_resources()
        use_gpu = uses_gpus(self.config.device, "device", most["GPU"], ranks, "ranks")
        share = {"CPU": shared_cpus(ranks, most["CPU"], "ranks"), **({"GPU": 1} if use_gpu else {})}
        return ScalingConfig(num_workers=ranks, use_gpu=use_gpu, resources_per_worker=share)

    def _fit(self, scaling: ScalingConfig, function: RunJob, jobs: list[Job], failures: list[Exception]) -> None:
        work, run = f"{__name__}:train_rank", run_config(function.folder, "transfer", self.config.max_failures)
        trainer = rank_trainer(work, {"function": function, "jobs": jobs}, scaling, run)
        fit_trainer(trainer, function.folder, failures)


def train_rank(settings: dict[str, Any], group: ProcessGroup) -> None:
    """Run the jobs ``settings["jobs"]`` with ``settings["function"]`` on one rank."""
    run_jobs(settings["function"], settings["jobs"], group)


def run_jobs(function: RunJob, jobs: list[Job], group: ProcessGroup) -> None:
    """Run the unfinished jobs on one rank. Non-retryable errors are recorded, so that a restarted worker group ends immediately.

    Args:
        function: Runs a job, and tells whether it is done.
        jobs: The jobs.
        group: The training processes.
    """
    for job in jobs:
        if has_failed(function.folder):
            return
        if function.done(job):  # equal on all ranks: a job cannot finish before all ranks have started it
            continue
        try:
            function(job, group)
        except (RequestError, WorkError) as error:
            note_failure(function.folder, error)
            raise


def _raised(failures: list[Exception]) -> Exception:
    if not failures:
        return WorkError("training on Ray ended without a result; start the command again")
    return cause_of(failures[0]) if isinstance(failures[0], TrainingFailedError) else failures[0]

"""Trainings as jobs, one per scheme, encoder, method and seed; results of finished jobs are cached.

Jobs with the same scheme, encoder and seed start from the same weights and take the same rows in the same order, so
that methods can be compared by paired tests.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, NamedTuple

import torch

from distgnn.auxiliary.advice import advise
from distgnn.auxiliary.data_source import DataSource, Weights
from distgnn.auxiliary.job_cache import FORMAT, REFERENCES, JobCache
from distgnn.auxiliary.label_target import LabelTarget
from distgnn.auxiliary.network_tasks.build import SYMMETRIC
from distgnn.auxiliary.network_tasks.problem import NetworkProblem
from distgnn.auxiliary.problem import MultiTaskProblem
from distgnn.auxiliary.step import batches_of
from distgnn.auxiliary.trainer import MethodOptions, Trainer, TrainingResult, pretrain_auxiliary
from distgnn.auxiliary.unread_options import read_weighting, unread_weighting, warn_unread
from distgnn.auxiliary.weighting import build_weighting
from distgnn.config import NetworkTaskConfig, TransferConfig
from distgnn.config.base import result_fields
from distgnn.config.fields import group_types
from distgnn.config.transfer import AUTO
from distgnn.corpus.writer import Mapper
from distgnn.distributed import ProcessGroup
from distgnn.errors import DivergedError, RequestError, WorkError
from distgnn.graph.keyed import key
from distgnn.graph.purposes import AuxiliaryDraw
from distgnn.monitor.sink import NULL_SINK, MetricsSink
from distgnn.register import import_modules
from distgnn.storage.folder import Folder


class Job(NamedTuple):
    """One training.

    Args:
        seed: Training seed.
        scheme: "scratch" or "pretrained".
        encoder: Index of the encoder in the data source.
        method: Weighting method; empty for pre-training on the auxiliary tasks only.
    """

    seed: int
    scheme: str
    encoder: int
    method: str


Progress = Callable[[int, int, str, TrainingResult | None], None]
"""Called after each job with (jobs done, number of jobs, title, result; None for a pre-training on auxiliary tasks)."""


def global_seed(seed: int, rank: int) -> int:
    """Return the seed of torch's global generator for a job, for user modules that use it."""
    return key(seed, AuxiliaryDraw.GLOBAL, rank)


@dataclass(frozen=True)
class RunJob:
    """Runs jobs and caches their results. Instances are picklable.

    Args:
        source: Factory of the problems; its config has the options of every training.
        folder: Folder of the results. Workers that can access it write their results themselves.
        device: torch device of a process that trains alone.
        sink: Metrics sink of the processes that run jobs.
        save_models: Save the trained models; a job without its model counts as unfinished.
        keep_diverged: A training that diverges ends with a result that says so, instead of an error.
    """

    source: DataSource
    folder: Folder
    device: str = "cpu"
    sink: MetricsSink = NULL_SINK
    save_models: bool = False
    keep_diverged: bool = False

    @property
    def config(self) -> TransferConfig:
        """Options of every training."""
        return self.source.config

    @property
    def cache(self) -> JobCache:
        """The results in ``folder``."""
        return JobCache(self.folder)

    def __call__(self, job: Job, group: ProcessGroup | None = None) -> TrainingResult | None:
        """Run ``job``. A collective of ``group`` (None = this process alone). Restores the global random state.

        Returns:
            The result, a function of the job; None for a pre-training on the auxiliary tasks only.
        """
        import_modules(self.config.imports)  # this may be a worker process
        group = group or ProcessGroup.single_process(torch.device(self.device))
        with torch.random.fork_rng(devices=[] if group.device.type == "cpu" else [group.device]):
            torch.manual_seed(global_seed(job.seed, group.rank))
            return self._train(job, group) if job.method else self._pretrain(job, group)

    def _train(self, job: Job, group: ProcessGroup) -> TrainingResult:
        trainer = self.begin(job, group)
        try:
            found = trainer.run()
        except WorkError as error:
            if not (self.keep_diverged and isinstance(error, DivergedError)):
                raise type(error)(f"{self.title(job)}: {error}") from error
            found = trainer.diverged(str(error))
        if job.scheme == "pretrained":
            found = replace(found, start_seconds=self._start(job)[1])
        if self.save_models and not found.diverged and isinstance(trainer.problem, LabelTarget):
            tensors = {name: tensor.detach().cpu().clone() for name, tensor in trainer.problem.tensors().items()}
            found = replace(found, weights=tensors)
        if group.is_main_process:
            self.cache.save(self.name(job), found)
        return found

    def begin(self, job: Job, group: ProcessGroup) -> Trainer:
        """Return the trainer of ``job`` before its first epoch.

        If it starts from a pre-training on auxiliary tasks, that job must be finished.
        """
        weights = self._start(job)[0] if job.scheme == "pretrained" else None
        problem = self.source.problem(job.encoder, job.seed, group, weights)
        return Trainer(problem, self.config, job.method, job.seed, group, self.sink)

    def _pretrain(self, job: Job, group: ProcessGroup) -> None:
        problem = self.source.problem(job.encoder, job.seed, group)
        start = time.perf_counter()
        weights = pretrain_auxiliary(problem, self.config, job.seed, group)
        if group.is_main_process:
            self.cache.save_weights(self.name(job), weights, time.perf_counter() - start)

    def _start(self, job: Job) -> tuple[Weights, float]:
        """Return the initial weights of a job of scheme pretrained, and the seconds of their training here."""
        weights = self.source.start(job.encoder)
        found = (weights, 0.0) if weights is not None else self.cache.load_weights(self.name(job._replace(method="")))
        if found is None:
            raise WorkError(
                f"{self.folder.uri}: weights pre-trained for {self.title(job)} are gone; start the command again"
            )
        return found

    def done(self, job: Job) -> bool:
        """Return whether the job's file exists and is complete."""
        return self.cache.has(self.name(job)) if not job.method else self.load(job) is not None

    def load(self, job: Job) -> TrainingResult | None:
        """Return the result of a finished job.

        None if it is unfinished, or if its file is damaged, not of this data, or without what this command needs: the model,
        or the influences of the validation rows and the predictions, which files of earlier versions lack.
        """
        found = self.cache.load(self.name(job)) if job.method else None
        if found is not None and found.diverged:
            return found if self.keep_diverged else None
        if found is None or not self.source.fits(found):
            return None
        lacks_model = self.save_models and not found.weights
        lacks_errors = AUTO in self.config.schemes and not len(found.influence)
        lacks_predictions = self.config.save_predictions and not found.predictions
        return None if lacks_model or lacks_errors or lacks_predictions else found

    def name(self, job: Job) -> str:
        """Return the name of the job's file, derived from everything the job depends on."""
        own: dict[str, Any] = {"weighting": read_weighting(self.config, job.method)} if job.method else {}
        alone = not job.method
        if alone or (job.scheme == "pretrained" and self.source.start(job.encoder) is None):
            own["pretrain_epochs"] = self.config.pretrain_epochs
        unread = (self.source.unused, *(("epochs", "patience") if alone else ()))
        fields = {name: value for name, value in result_fields(self.config).items() if name not in unread}
        if "network" in fields:
            # Options of tasks and encoders that are not named are left out, so that new ones change no key.
            named = {*self.config.network.auxiliary, self.source.encoders[job.encoder]}
            others = group_types(NetworkTaskConfig).keys() - named
            fields["network"] = {name: value for name, value in fields["network"].items() if name not in others}
        identity = self.source.identity(job.encoder, job.scheme)
        text = json.dumps([FORMAT, fields, own, identity, job.scheme], sort_keys=True)
        return f"{job.method or 'auxiliary'}-{sha256(text.encode()).hexdigest()[:16]}-seed{job.seed}.safetensors"

    def references(self) -> dict[str, dict[str, float]]:
        """Return the test scores of models without an encoder, which are trained once for each network and split."""
        identity = self.source.references_identity()
        if not identity:
            return {}
        name = f"references-{sha256(f'{REFERENCES} {identity}'.encode()).hexdigest()[:16]}.safetensors"
        found = self.cache.load_references(name)
        if found is None:
            found = self.source.references()
            self.cache.save_references(name, found)
        return found

    def title(self, job: Job) -> str:
        """Return a readable title of the job; a method or scheme common to all jobs is omitted."""
        config, encoder = self.config, self.source.encoders[job.encoder]
        method = [] if job.method and len(config.compared) == 1 else [job.method or "auxiliary tasks alone"]
        scheme = [] if len(config.compared) == len(config.trained_schemes) == 1 else [job.scheme]
        return ", ".join([*method, encoder, *scheme, f"seed {job.seed}"])


def run_jobs(
    run: RunJob, jobs: Sequence[Job], mapper: Mapper = map, progress: Progress | None = None
) -> dict[Job, TrainingResult]:
    """Return the results of ``jobs``, in order. Finished jobs are loaded, the others are run.

    Args:
        run: Runs one job.
        jobs: The trainings; pre-trainings on auxiliary tasks that they start from are added.
        mapper: Ordered map over independent jobs.
        progress: Called after each job that was run.

    Raises:
        WorkError: A training diverged.
    """
    source = run.source
    found = {job: run.load(job) for job in jobs}
    missing = [job for job, result in found.items() if result is None]
    starts = [
        job._replace(method="") for job in missing if job.scheme == "pretrained" and source.start(job.encoder) is None
    ]
    first = [job for job in dict.fromkeys(starts) if not run.done(job)]
    total, done = len(jobs) + len(first), len(jobs) - len(missing)
    for stage in (first, missing):
        for job, result in zip(stage, mapper(run, stage) if stage else (), strict=True):
            if result is not None and not run.done(job):  # the worker cannot access the folder
                run.cache.save(run.name(job), result)
            found[job] = result
            done += 1
            if progress:
                progress(done, total, run.title(job), result)
    return {job: result for job in jobs if (result := found[job]) is not None}


def rehearse(run: RunJob, encoder: int) -> MultiTaskProblem:
    """Build everything the jobs of an encoder need once, to fail before training.

    Raises:
        RequestError: Data, encoder and tasks do not fit together.
    """
    config = run.config
    problem = run.source.problem(encoder, 0, ProcessGroup.single_process(torch.device("cpu")))
    if "pretrained" in config.trained_schemes and run.source.start(encoder) is None and len(problem.names) == 1:
        raise RequestError(
            "scheme pretrained: there is no auxiliary task to train first; name some in corpus.auxiliary, or set schemes=scratch"
        )
    methods = {method: build_weighting(config.weighted(method), problem.names, 0) for method in config.compared}
    if encoder == 0:
        warn_unread(run.source.unread() | unread_weighting(config))
        advise(config, problem, methods)
        for reason in problem.left_out if isinstance(problem, NetworkProblem) else ():
            warnings.warn(f"{SYMMETRIC} leaves out a meta-path: {reason}", stacklevel=2)
    for method, weighting in methods.items():
        parts = batches_of(problem, weighting, MethodOptions(config, method), 0).parts
        if isinstance(problem, LabelTarget) and config.batch // parts < config.corpus.streams:
            raise RequestError(
                f"batch={config.batch} is too small for {parts} folds of corpus.streams={config.corpus.streams} each"
            )
    return problem

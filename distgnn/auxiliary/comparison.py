"""Weighting methods compared: every scheme, encoder, method and seed is a job of its own; finished jobs are kept.

Jobs of one scheme, encoder and seed start from the same weights and take the same rows in the same order, so methods are
compared in pairs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

import torch

from distgnn.auxiliary.data_source import Ground, Weights
from distgnn.auxiliary.folds import Folds
from distgnn.auxiliary.trainer import CURVES, Fitted, JointFit, pretrain_auxiliary
from distgnn.auxiliary.weighting import build_weighting
from distgnn.config import TransferConfig
from distgnn.config.base import result_fields, to_json
from distgnn.corpus.writer import Mapper
from distgnn.distributed import ProcessGroup
from distgnn.errors import WorkError
from distgnn.graph.keyed import key
from distgnn.graph.purposes import AuxiliaryDraw
from distgnn.models.registry import import_modules
from distgnn.monitor.sink import SILENT, Meter
from distgnn.storage.arrays import read_kept, write_kept
from distgnn.storage.folder import Folder

_TOLD = ("names", "metrics", "best_epoch", "seconds", "validation", "test")


class Job(NamedTuple):
    """encoder: its place among the ground's. An empty method is the training on auxiliary tasks alone."""

    seed: int
    scheme: str
    encoder: int
    method: str


def global_seed(seed: int, rank: int) -> int:
    """What torch's own generator starts a job with, for weightings of others' that draw from it."""
    return key(seed, AuxiliaryDraw.GLOBAL, rank)


@dataclass(frozen=True)
class RunJob:
    """Runs a job and keeps what it gives in ``folder``; can be sent to workers, which need to see the folder.

    device: torch device of the process, where it is alone. meter: takes the metrics of the processes that run jobs.
    """

    config: TransferConfig
    ground: Ground
    folder: Folder
    device: str = "cpu"
    meter: Meter = SILENT

    def __call__(self, job: Job, group: ProcessGroup | None = None) -> Fitted | None:
        """What the job gives (None for a training on auxiliary tasks), a function of the job; with ``ranks``, a collective.

        Global random state is left as it was.
        """
        import_modules(self.config.imports)  # this may be another process
        group = group or ProcessGroup.single_process(torch.device(self.device))
        with torch.random.fork_rng(devices=[] if group.device.type == "cpu" else [group.device]):
            torch.manual_seed(global_seed(job.seed, group.rank))
            return self._fit(job, group) if job.method else self._pretrain(job, group)

    def _fit(self, job: Job, group: ProcessGroup) -> Fitted:
        fit = self.begin(job, group)
        try:
            found = fit.run()
        except WorkError as error:
            raise type(error)(f"{self.title(job)}: {error}") from error
        if group.is_main_process:
            told = {name: getattr(found, name) for name in _TOLD}
            write_kept(self.folder, self.name(job), told, {**found.curves, "meta_loss": found.meta_loss})
        return found

    def begin(self, job: Job, group: ProcessGroup) -> JointFit:
        """The training of ``job`` before its first epoch; where it starts from auxiliary tasks, those must have been trained."""
        problem = self.ground.problem(job.encoder, job.seed, group)
        if job.scheme == "pretrained":
            problem.shared.load_state_dict(self._start(job))
        return JointFit(problem, self.config, job.method, job.seed, group, self.meter)

    def _pretrain(self, job: Job, group: ProcessGroup) -> None:
        problem = self.ground.problem(job.encoder, job.seed, group)
        weights = pretrain_auxiliary(problem, self.config, job.seed, group)
        if group.is_main_process:
            write_kept(self.folder, self.name(job), {}, {name: tensor.numpy() for name, tensor in weights.items()})

    def _start(self, job: Job) -> Weights:
        brought = self.ground.start(job.encoder)
        if brought is not None:
            return brought
        kept = read_kept(self.folder, self.name(job._replace(method="")))
        if kept is None:
            raise WorkError(
                f"{self.folder.uri}: weights pre-trained for {self.title(job)} are gone; start the command again"
            )
        return {name: torch.from_numpy(array) for name, array in kept[1].items()}

    def done(self, job: Job) -> bool:
        """Whether the job's file is there and whole."""
        return read_kept(self.folder, self.name(job)) is not None

    def load(self, job: Job) -> Fitted | None:
        """What a finished job gave; None where it has not finished, or its file is not whole."""
        kept = read_kept(self.folder, self.name(job)) if job.method else None
        if kept is None:
            return None
        told, arrays = kept
        values = {**told, **{name: tuple(told[name]) for name in ("names", "metrics", "validation")}}
        return Fitted(**values, curves={name: arrays[name] for name in CURVES}, meta_loss=arrays["meta_loss"])

    def name(self, job: Job) -> str:
        """The file of a job, after everything it depends on."""
        own: dict[str, Any] = {"weighting": to_json(self.config.weighted(job.method))} if job.method else {}
        alone = not job.method
        if alone or (job.scheme == "pretrained" and self.ground.start(job.encoder) is None):
            own["pretrain_epochs"] = self.config.pretrain_epochs
        unread = (self.ground.unused, *(("epochs", "patience") if alone else ()))
        fields = {name: value for name, value in result_fields(self.config).items() if name not in unread}
        text = json.dumps([fields, own, self.ground.identity(job.encoder, job.scheme), job.scheme], sort_keys=True)
        return f"{job.method or 'auxiliary'}-{sha256(text.encode()).hexdigest()[:16]}-seed{job.seed}.safetensors"

    def title(self, job: Job) -> str:
        """The job in words."""
        method = job.method or "auxiliary tasks alone"
        return f"{method}, {self.ground.encoders[job.encoder]}, {job.scheme}, seed {job.seed}"


@dataclass(frozen=True)
class Comparison:
    """What tables, files and pictures are made from. encoders: names. lower: metrics of which less is better."""

    config: TransferConfig
    encoders: tuple[str, ...]
    lower: frozenset[str]
    fitted: dict[Job, Fitted] = field(repr=False)

    @property
    def metric(self) -> str:
        """The one that selects epochs."""
        return next(iter(self.fitted.values())).metrics[0]

    def of(self, scheme: str, encoder: int, method: str) -> list[Fitted]:
        """One for each seed, in seed order."""
        return [self.fitted[Job(seed, scheme, encoder, method)] for seed in range(self.config.seeds)]


def jobs_of(config: TransferConfig, encoders: int) -> list[Job]:
    """Every job, seed by seed."""
    return [
        Job(seed, scheme, encoder, method)
        for seed in range(config.seeds)
        for scheme in config.schemes
        for encoder in range(encoders)
        for method in config.compared
    ]


def compare_methods(
    run: RunJob, mapper: Mapper = map, progress: Callable[[int, int, Job, Fitted | None], None] | None = None
) -> Comparison:
    """Run what has not been run yet. progress: called after each job with (jobs done, jobs in all, the job, what it gave).

    Raises RequestError where data and tasks do not fit, before anything is trained; WorkError where training diverges.
    """
    config, ground = run.config, run.ground
    lower = frozenset[str]().union(*(_rehearsed(run, place) for place in range(len(ground.encoders))))
    jobs = jobs_of(config, len(ground.encoders))
    found = {job: run.load(job) for job in jobs}
    missing = [job for job, fitted in found.items() if fitted is None]
    starts = [
        job._replace(method="") for job in missing if job.scheme == "pretrained" and not ground.start(job.encoder)
    ]
    first = [job for job in dict.fromkeys(starts) if not run.done(job)]
    total, done = len(jobs) + len(first), len(jobs) - len(missing)
    for stage in (first, missing):
        for job, fitted in zip(stage, mapper(run, stage) if stage else (), strict=True):
            found[job] = fitted
            done += 1
            if progress:
                progress(done, total, job, fitted)
    fitted = {job: outcome for job in jobs if (outcome := found[job]) is not None}
    return Comparison(config, ground.encoders, lower, fitted)


def _rehearsed(run: RunJob, encoder: int) -> frozenset[str]:
    """Make everything a job needs, once: metrics of which less is better. Raises RequestError for what does not fit."""
    problem = run.ground.problem(encoder, 0, ProcessGroup.single_process(torch.device("cpu")))
    Folds(problem.strata, run.config.weighting.folds, run.config.batch, 0)
    for method in run.config.compared:
        build_weighting(run.config.weighted(method), problem.names, 0)
    return problem.lower_is_better

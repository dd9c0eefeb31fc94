"""Jobs of a few-label evaluation, and their cached results.

A job is one training: a pre-training seed of a method, a draw and a number of labels; it is tested after several numbers of
updates. Jobs of one draw and number of labels have the same graphs, initial head, order of rows and dropout masks, so that
methods are compared in pairs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from distgnn.auxiliary.batches import Batches
from distgnn.auxiliary.data_source import CorpusDataSource, InitialEncoder, Weights
from distgnn.auxiliary.fixed_updates import train_updates
from distgnn.auxiliary.job_cache import FORMAT, JobCache
from distgnn.auxiliary.jobs import global_seed
from distgnn.auxiliary.trainer import Trainer, TrainingResult
from distgnn.config import FewLabelConfig
from distgnn.config.base import result_fields
from distgnn.config.transfer import CONTROL
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError, WorkError
from distgnn.graph.batch import select_graphs
from distgnn.graph.draws import Draw, draw_groups, draw_random, draw_stratified
from distgnn.graph.keyed import draw, key
from distgnn.graph.purposes import LabelDraw
from distgnn.labels.dataset import LabelledSet, check_defined
from distgnn.labels.scores import Floats, defined, unlearned
from distgnn.labels.target import make_target
from distgnn.models.encoder import build_encoder
from distgnn.models.norm import replace_statistics, statistics
from distgnn.register import import_modules
from distgnn.storage.folder import Folder

Size = int | Literal["all"]
_IGNORED = ("network", "epochs", "patience", "data")


class Method(NamedTuple):
    """A method: initial encoders from one recipe, one for each pre-training seed."""

    name: str
    starts: tuple[InitialEncoder, ...]


class FewLabelJob(NamedTuple):
    """One training.

    Attributes:
        draw: Number of the draw; also the seed of everything random in the training.
        size: Number of graphs to learn from.
        start: Index of the initial encoder.
    """

    draw: int
    size: Size
    start: int


@dataclass(frozen=True)
class RunFewLabels:
    """Runs jobs and caches their results. Instances are picklable.

    Attributes:
        version: Part of every cache key; changes with what a job is or measures.

    Args:
        config: Settled config.
        source: The labelled corpus, whose part "all" is drawn from, and the initial encoders.
        groups: Group of every graph, for draw_by=scaffold.
        folder: Folder of the results.
        device: torch device of the trainings.
    """

    version: ClassVar[str] = "few labels 2"
    config: FewLabelConfig
    source: CorpusDataSource
    groups: npt.NDArray[np.object_] | None
    folder: Folder
    device: str = "cpu"

    def __call__(self, job: FewLabelJob) -> TrainingResult:
        """Run ``job`` and save its result, a function of the job. Restores the global random state."""
        import_modules(self.config.imports)  # this may be a worker process
        group = ProcessGroup.single_process(torch.device(self.device))
        with torch.random.fork_rng(devices=[] if group.device.type == "cpu" else [group.device]):
            torch.manual_seed(global_seed(job.draw, 0))
            data, start = self.data(job), self.source.starts[job.start]
            source = replace(self.source, data=data)
            problem = source.problem(job.start, job.draw, group, self.weights(start, job.draw))
            trainer = Trainer(problem, self.source.config, CONTROL, job.draw, group)
            try:
                found = self.train(trainer, self.updates(job.size))
            except WorkError as error:
                raise type(error)(f"{self.title(job)}: {error}") from error
        JobCache(self.folder).save(self.name(job), found)
        return found

    def train(self, trainer: Trainer, updates: tuple[int, ...]) -> TrainingResult:
        """Train a job and test it after each of ``updates``."""
        return train_updates(trainer, updates)

    @property
    def test_graphs(self) -> int:
        """Number of test graphs that a draw asks for."""
        return min(self.config.test_graphs, len(self.source.data.parts["all"]) // 2)

    def draw(self, number: int) -> Draw:
        """Return draw ``number``, a function of split.seed and the number."""
        data, seed = self.source.data, self.config.split.seed
        rows = data.parts["all"]
        ids = data.graphs.graph_id.numpy()[rows]
        if self.config.draw_by == "stratified":
            return draw_stratified(rows, ids, self._classes(rows), self.test_graphs, seed, number)
        if self.config.draw_by == "scaffold":
            if self.groups is None:
                raise RequestError(
                    f"{self.config.corpus}: draw_by=scaffold needs a 'group' column; choose another draw_by"
                )
            return draw_groups(rows, ids, self.groups[rows], self.test_graphs, seed, number)
        return draw_random(rows, ids, self.test_graphs, seed, number)

    def _classes(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        data = self.source.data
        if data.target.task == "regression" or data.y.shape[1] > 1:
            raise RequestError(
                f"{self.config.corpus}: draw_by=stratified needs one label of classes; choose it with labels, or another draw_by"
            )
        return data.y[torch.from_numpy(rows), 0].numpy().astype(np.int64)

    def data(self, job: FewLabelJob) -> LabelledSet:
        """Return the corpus with the parts train and test of a job; target statistics are those of its training graphs.

        Raises:
            RequestError: The pool has too few graphs, or the metric is undefined on the test graphs.
        """
        test, pool = self.draw(job.draw)
        data, where = self.source.data, self.config.corpus
        if job.size != "all" and job.size > len(pool):
            raise RequestError(
                f"{where}: train_labels={job.size}, but {len(test)} test graphs leave {len(pool)}; lower it or test_graphs"
            )
        train = pool if job.size == "all" else pool[: job.size]
        y, old = data.y.numpy(), data.target
        stratified = "" if y.shape[1] > 1 or self.config.draw_by == "stratified" else "draw_by=stratified, "
        remedy = f"give {stratified}more test_graphs"
        check_defined(old.task, y, {"test": test}, f"{where}, draw {job.draw}", remedy)
        target = replace(make_target(old.task, old.names, y, y[train]), outputs=old.outputs)
        parts = {"train": train, "test": test}
        return replace(data, parts=parts, target=target, y=torch.from_numpy(self._scored(y, job, parts)))

    def _scored(self, y: Floats, job: FewLabelJob, parts: dict[str, npt.NDArray[np.int64]]) -> Floats:
        """Return labels y [G, T] without the test values of those that the training graphs say nothing about.

        So they are left out of the score and of its coverage.
        """
        target, lost = self.source.data.target, unlearned(self.source.data.target.task, y[parts["train"]])
        if not lost.any():
            return y
        scored = y.copy()
        scored[np.ix_(parts["test"], lost)] = np.nan
        if not defined(target.task, scored[parts["test"]]).any():
            label = next(name for name, one in zip(target.names, lost, strict=True) if one)
            raise RequestError(
                f"{self.config.corpus}, draw {job.draw}: label {label!r} has no known value among the {job.size} training"
                " graphs, and no other label can be tested; raise train_labels, or choose labels with more known values"
            )
        return scored

    def weights(self, start: InitialEncoder, number: int) -> Weights | None:
        """Return the initial weights of an encoder in draw ``number``; None = fresh ones, a function of the draw.

        Fresh encoders get the running statistics of :meth:`norm_rows`; labels are not read. Those of a pre-trained encoder
        are its own.
        """
        if start.weights is not None or not self.config.norm_graphs:
            return start.weights
        rows = self.norm_rows(number)
        encoder = build_encoder(self.source.data.schema, start.encoder, number).to(self.device).train()
        with torch.no_grad():
            encoder(select_graphs(self.source.data.graphs, torch.from_numpy(rows)).to(self.device))
        replace_statistics(encoder, statistics(encoder).to(self.device))
        return encoder.state_dict()

    def norm_rows(self, number: int) -> npt.NDArray[np.int64]:
        """Return the graphs that set the statistics of the control in draw ``number``.

        They are drawn from all graphs of the corpus that are not tested in the draw, with and without a known label.
        """
        data = self.source.data
        others = np.setdiff1d(np.arange(len(data.y)), self.draw(number).test)
        words = draw(key(self.config.split.seed, LabelDraw.NORM_GRAPHS, number), data.graphs.graph_id.numpy()[others])
        return others[np.argsort(words)[: self.config.norm_graphs]]

    def updates(self, size: Size) -> tuple[int, ...]:
        """Return the numbers of updates after which a training is tested."""
        if self.config.updates:
            return self.config.updates
        count = len(self.draw(0).pool) if size == "all" else size
        return (self.config.epochs * Batches(np.zeros(count, np.int64), self.config.batch, 0).steps_per_epoch,)

    @cached_property
    def identities(self) -> tuple[str, ...]:
        """Texts that identify the data and the initial encoders, for cache keys."""
        schemes = ("scratch" if start.weights is None else "pretrained" for start in self.source.starts)
        return tuple(self.source.identity(place, scheme) for place, scheme in enumerate(schemes))

    def name(self, job: FewLabelJob) -> str:
        """Return the name of the job's file, derived from everything the job depends on."""
        config, fresh = self.config, self.source.starts[job.start].weights is None
        fields = {name: value for name, value in result_fields(self.source.config).items() if name not in _IGNORED}
        own = [self.updates(job.size), job.size, config.draw_by, config.split.seed, self.test_graphs]
        control = [config.norm_graphs if fresh else 0]
        text = json.dumps([FORMAT, self.version, fields, own, control, self.identities[job.start]], sort_keys=True)
        return f"few-{sha256(text.encode()).hexdigest()[:16]}-draw{job.draw}.safetensors"

    def load(self, job: FewLabelJob) -> TrainingResult | None:
        """Return the result of a finished job; None if it is unfinished or damaged."""
        found = JobCache(self.folder).load(self.name(job))
        wanted = tuple(map(str, self.updates(job.size)))
        return found if found is not None and tuple(found.scores) == wanted else None

    def title(self, job: FewLabelJob) -> str:
        """Return a readable title of the job."""
        return f"{self.source.starts[job.start].name}, {job.size} labels, draw {job.draw}"

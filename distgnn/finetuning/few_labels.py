"""Few-label evaluation: compare methods fine-tuned on few labels for few updates, over draws of the labelled corpus."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distgnn.auxiliary.job_cache import JobCache
from distgnn.auxiliary.jobs import Progress
from distgnn.auxiliary.trainer import TrainingResult
from distgnn.config import FewLabelConfig
from distgnn.corpus.writer import Mapper
from distgnn.errors import RequestError
from distgnn.finetuning.budget import check_budget
from distgnn.finetuning.comparison import finetune_source, with_controls
from distgnn.finetuning.few_label_jobs import FewLabelJob, Method, RunFewLabels, Size
from distgnn.finetuning.readouts import named, read_out
from distgnn.labels.dataset import LabelledSet, read_undivided
from distgnn.labels.scores import HIGHER_IS_BETTER, of_one_class
from distgnn.storage.folder import Folder

Scores = dict[tuple[str, Size, int], npt.NDArray[np.float64]]
"""float64 [pre-training seeds, draws] by (method, labels, updates)."""


class FewLabelPlan(NamedTuple):
    """A few-label evaluation that is ready to run.

    Attributes:
        run: Runs its jobs.
        methods: The methods in the order of ``run.source.starts``, controls last.
        controls: Control of each method that has one.
    """

    run: RunFewLabels
    methods: tuple[Method, ...]
    controls: dict[str, str]


@dataclass(frozen=True)
class FewLabelScores:
    """Scores of a few-label evaluation.

    Attributes:
        config: Settled config.
        data: The labelled corpus, with the part "all".
        methods: Names of the methods, in order, controls last.
        controls: Control of each method that has one.
        scores: float64 [pre-training seeds, draws] by (method, labels, updates).
        coverage: Smallest share of the labels in the score of a draw: those that the metric is defined for, and that are learned.
        metric: Name of the metric.
        tested: Number of test graphs of each draw.
        seconds: Mean wall time of a training.
        costs: Graphs and CPU seconds of the pre-training of each method, means over its seeds, where all are known.
        normed: Number of graphs that set the statistics of the control in each draw.
        measured: Everything that the jobs measured, by name, as ``scores``; ``metric`` is the first.
    """

    config: FewLabelConfig
    data: LabelledSet = field(repr=False)
    methods: tuple[str, ...]
    controls: dict[str, str]
    scores: Scores = field(repr=False)
    coverage: float
    metric: str
    tested: tuple[int, ...]
    seconds: float
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    normed: tuple[int, ...] = ()
    measured: dict[str, Scores] = field(default_factory=dict, repr=False)

    @property
    def overlap(self) -> float:
        """n_test / (N - n_test), the correction for overlapping draws; see :mod:`distgnn.labels.resampling`."""
        test = float(np.mean(self.tested))
        return test / (len(self.data.parts["all"]) - test)

    @property
    def higher_is_better(self) -> bool:
        """Whether higher scores are better."""
        return HIGHER_IS_BETTER[self.metric]

    @property
    def cells(self) -> tuple[tuple[Size, int], ...]:
        """All (labels, updates), in order."""
        return tuple(dict.fromkeys((size, updates) for _, size, updates in self.scores))


def evaluate_few_labels(
    config: FewLabelConfig,
    methods: Sequence[Method],
    folder: Folder,
    mapper: Mapper = map,
    device: str = "cpu",
    progress: Progress | None = None,
) -> FewLabelScores:
    """Train every method, and as a control its architecture with fresh weights, on every draw and number of labels.

    Args:
        config: Corpus and options; unset ones take the defaults of few-label evaluation.
        methods: The methods to compare; if empty, only the control with the architecture ``config.encoder`` is trained.
        folder: Cache of the results; finished trainings are not run again.
        mapper: Ordered map over independent jobs.
        device: torch device of the trainings.
        progress: Called after each job.

    Raises:
        RequestError: The corpus, its labels, the draws or a checkpoint's features do not fit.
        WorkError: A training diverged.
    """
    return collect_scores(plan_evaluation(config, methods, folder, device), mapper, progress)


def plan_evaluation(
    config: FewLabelConfig,
    methods: Sequence[Method],
    folder: Folder,
    device: str,
    kind: type[RunFewLabels] = RunFewLabels,
) -> FewLabelPlan:
    """Read the corpus, add the controls and check everything that can fail before a training.

    Args:
        config, methods, folder, device: See :func:`evaluate_few_labels`.
        kind: Class that runs the jobs.

    Raises:
        RequestError: The corpus, its labels, the draws or a checkpoint's features do not fit.
    """
    config = config.settled()
    methods = _read_out(config, methods)
    _check_seeds(methods)
    check_budget(config.budget, {method.name: _mean_cost(method) for method in methods})
    firsts = [replace(method.starts[0], name=method.name) for method in methods]
    everything, controls = with_controls(firsts, config.encoder)
    everyone = [*methods, *(Method(start.name, (start,)) for start in everything[len(firsts) :])]
    starts = [start for method in everyone for start in method.starts]
    data, groups = read_undivided(config.corpus, config)
    run = kind(config, finetune_source(config, data, starts), groups, folder, device)
    jobs = [FewLabelJob(number, size, 0) for number in range(config.draws) for size in config.train_labels]
    _warn_of_one_class(
        [job for job, drawn in zip(jobs, map(run.data, jobs), strict=True) if _has_one_class(drawn)], run
    )
    return FewLabelPlan(run, tuple(everyone), controls)


def _has_one_class(data: LabelledSet) -> bool:
    return of_one_class(data.target.task, data.labels("train"))


def _warn_of_one_class(jobs: list[FewLabelJob], run: RunFewLabels) -> None:
    """Warn once if the training graphs of ``jobs`` have one class."""
    if jobs:
        stratify = "" if run.config.draw_by == "stratified" else ", or draw_by=stratified (one label)"
        warnings.warn(
            f"{run.config.corpus}: all training graphs have one class in {len({job.draw for job in jobs})} of"
            f" {run.config.draws} draws (the first: draw {jobs[0].draw}, {jobs[0].size} labels), so nothing is learned there;"
            f" give more train_labels{stratify}",
            stacklevel=3,
        )


def collect_scores(plan: FewLabelPlan, mapper: Mapper = map, progress: Progress | None = None) -> FewLabelScores:
    """Run the unfinished jobs of ``plan`` and return the scores of all.

    Raises:
        WorkError: A training diverged.
    """
    run, config = plan.run, plan.run.config
    results = _run(run, mapper, progress)
    metrics = next(iter(results.values())).metrics
    measured = {metric: _arrays(run, plan.methods, results, metric) for metric in metrics}
    tested = tuple(len(run.draw(number).test) for number in range(config.draws))
    return FewLabelScores(
        config=config,
        data=run.source.data,
        methods=tuple(method.name for method in plan.methods),
        controls=plan.controls,
        scores=measured[metrics[0]],
        coverage=min(value for found in results.values() for value in found.coverage.values()),
        metric=metrics[0],
        tested=tested,
        seconds=float(np.mean([found.seconds for found in results.values()])),
        costs={method.name: _mean_cost(method) for method in plan.methods if method.name in plan.controls},
        normed=tuple(len(run.norm_rows(number)) for number in range(config.draws)),
        measured=measured,
    )


def _read_out(config: FewLabelConfig, methods: Sequence[Method]) -> list[Method]:
    """Return each method once for each readout of ``config``."""
    return [
        Method(named(method.name, readout), tuple(read_out(replace(config, readout=(readout,)), method.starts)))
        for method in methods
        for readout in config.readout
    ]


def _mean_cost(method: Method) -> dict[str, float]:
    costs = [start.cost for start in method.starts]
    names = [name for name in ("graphs", "cpu_seconds") if all(name in cost for cost in costs)]
    return {name: float(np.mean([cost[name] for cost in costs])) for name in names}


def _check_seeds(methods: Sequence[Method]) -> None:
    for method in methods:
        for start in method.starts[1:]:
            if start.encoder != method.starts[0].encoder:
                raise RequestError(
                    f"checkpoint {method.name}: {start.name} has another encoder than {method.starts[0].name}; the"
                    " pre-training seeds of a method need the same one"
                )


def _run(run: RunFewLabels, mapper: Mapper, progress: Progress | None) -> dict[FewLabelJob, TrainingResult]:
    """Return the results of all jobs, draw by draw. Finished jobs are loaded, the others are run."""
    config = run.config
    jobs = [
        FewLabelJob(number, size, start)
        for number in range(config.draws)
        for size in config.train_labels
        for start in range(len(run.source.starts))
    ]
    loaded = {job: run.load(job) for job in jobs}
    missing = [job for job in jobs if loaded[job] is None]
    results = {job: found for job, found in loaded.items() if found is not None}
    for job, found in zip(missing, mapper(run, missing) if missing else (), strict=True):
        if run.load(job) is None:  # the worker cannot access the folder
            JobCache(run.folder).save(run.name(job), found)
        results[job] = found
        if progress:
            progress(len(results), len(jobs), run.title(job), found)
    return results


def _arrays(
    run: RunFewLabels, methods: Sequence[Method], results: dict[FewLabelJob, TrainingResult], metric: str
) -> Scores:
    """Return the values of ``metric``."""
    found: Scores = {}
    for size in run.config.train_labels:
        for place, updates in enumerate(run.updates(size)):
            first = 0
            for method in methods:
                own = range(first, first + len(method.starts))
                first += len(method.starts)
                found[method.name, size, updates] = np.array(
                    [
                        [_value(results[FewLabelJob(n, size, start)], place, metric) for n in range(run.config.draws)]
                        for start in own
                    ]
                )
    return found


def _value(result: TrainingResult, place: int, metric: str) -> float:
    return list(result.scores.values())[place][metric]

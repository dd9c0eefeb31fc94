"""Comparison of trainings over seeds with paired tests against controls, and the comparison of weighting methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from distgnn.auxiliary.choice import Gain, validation_gain
from distgnn.auxiliary.jobs import Job, Progress, RunJob, rehearse, run_jobs
from distgnn.auxiliary.trainer import TrainingResult
from distgnn.config import TransferConfig
from distgnn.config.transfer import AUTO, CONTROL, SCHEMES
from distgnn.corpus.writer import Mapper
from distgnn.errors import DivergedError
from distgnn.labels.scores import holm, paired_interval, paired_p_value

SIGNIFICANT = 0.05
Config = TypeVar("Config")


class Row(NamedTuple):
    """One row of a comparison; trained once per seed.

    Args:
        method: Name of the checkpoint or of the weighting method; "none" for the control.
        encoder: Name of the encoder.
        scheme: "scratch", "pretrained" or "auto".
    """

    method: str
    encoder: str
    scheme: str


class Contrast(NamedTuple):
    """Difference between a row and its control over the same seeds.

    Args:
        difference: Mean of the row minus mean of the control.
        gain: The difference, negated for metrics where lower is better.
        relative_gain: ``gain`` divided by the control's mean.
        p: p-value of the two-sided paired t-test; None if the test is undefined.
        p_holm: ``p`` after Holm's correction over the rows of the same part and metric.
        interval: 95 % interval of ``difference``, of the same test without correction; None like ``p``.
    """

    difference: float
    gain: float
    relative_gain: float
    p: float | None
    p_holm: float | None
    interval: tuple[float, float] | None

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is below SIGNIFICANT."""
        return self.p_holm is not None and self.p_holm < SIGNIFICANT


@dataclass(frozen=True)
class Comparison(Generic[Config]):
    """Results for every row and seed; the basis of tables, files and figures.

    Args:
        config: Config of the comparison.
        controls: Control of each row that has one.
        results: One training per row and seed, in the order of the jobs.
        lower_is_better: Metrics where lower is better.
        references: Test scores of models without an encoder, by name and metric.
        gains: For each row of scheme auto, the validation gains of the trainings that it chose from.
        diverged: For each row that is left out, since a training of it diverged: the seeds and why.
    """

    config: Config
    controls: dict[Row, Row]
    results: dict[tuple[Row, int], TrainingResult] = field(repr=False)
    lower_is_better: frozenset[str]
    references: dict[str, dict[str, float]] = field(default_factory=dict, kw_only=True)
    gains: dict[Row, list[Gain]] = field(default_factory=dict, kw_only=True)
    diverged: dict[Row, dict[int, str]] = field(default_factory=dict, kw_only=True)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows, in order."""
        return tuple(dict.fromkeys(row for row, _ in self.results))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seeds, in order."""
        return tuple(dict.fromkeys(seed for _, seed in self.results))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics; the first selects the epoch."""
        return self._first.metrics

    @property
    def metric(self) -> str:
        """Name of the metric that selects the epoch."""
        return self.metrics[0]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, the target first."""
        return self._first.tasks

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of the data not used in training: test, and ood if the split has one."""
        return tuple(part for part in ("test", "ood") if part in self._first.scores)

    @property
    def _first(self) -> TrainingResult:
        return next(iter(self.results.values()))

    def of(self, row: Row) -> list[TrainingResult]:
        """Return the results of ``row`` in seed order."""
        return [self.results[row, seed] for seed in self.seeds]

    def values(self, row: Row, part: str = "test", metric: str = "") -> npt.NDArray[np.float64]:
        """Return the metric (default: the one that selects the epoch) of ``row`` on ``part``, float64 [seeds]."""
        return np.array([result.scores[part][metric or self.metric] for result in self.of(row)])

    def contrasts(self, part: str = "test", metric: str = "") -> dict[Row, Contrast]:
        """Return the contrast of every row that has a control."""
        metric = metric or self.metric
        pairs = {
            row: (self.values(row, part, metric), self.values(control, part, metric))
            for row, control in self.controls.items()
        }
        p_values = [paired_p_value(*pair) for pair in pairs.values()]
        sign = -1.0 if metric in self.lower_is_better else 1.0
        found = {}
        for (row, (values, control)), p, corrected in zip(pairs.items(), p_values, holm(p_values), strict=True):
            difference = float(values.mean() - control.mean())
            gain = sign * difference
            relative = gain / abs(float(control.mean())) if gain else 0.0
            found[row] = Contrast(difference, gain, relative, p, corrected, paired_interval(values, control))
        return found

    def records(self) -> list[dict[str, Any]]:
        """Return one record per row, seed, part and metric."""
        return [
            {
                **row._asdict(),
                "seed": seed,
                "part": part,
                "metric": metric,
                "value": value,
                "best_epoch": result.best_epoch,
                "seconds": result.seconds,
            }
            for (row, seed), result in self.results.items()
            for part, scores in result.scores.items()
            for metric, value in scores.items()
        ]

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per row, part and metric: statistics over seeds, and the paired test against the control.

        ``sd`` (sample standard deviation) and ``se`` (standard error of the mean) are None for a single seed;
        ``low`` and ``high`` bound the 95 % interval of ``difference`` over seeds. ``control``, ``difference``, ``gain``, these,
        ``p`` and ``p_holm`` are None for a control.
        """
        return [record for metric in self.metrics for part in self.parts for record in self._summary(part, metric)]

    def _summary(self, part: str, metric: str) -> list[dict[str, Any]]:
        contrasts, found = self.contrasts(part, metric), []
        for row in self.rows:
            values, contrast = self.values(row, part, metric), contrasts.get(row)
            sd = float(values.std(ddof=1)) if len(values) > 1 else None
            low, high = (contrast and contrast.interval) or (None, None)
            found.append(
                {
                    **row._asdict(),
                    "part": part,
                    "metric": metric,
                    "n": len(values),
                    "mean": float(values.mean()),
                    "sd": sd,
                    "se": None if sd is None else sd / len(values) ** 0.5,
                    "control": self.controls[row].method if contrast else None,
                    "difference": contrast.difference if contrast else None,
                    "gain": contrast.gain if contrast else None,
                    "low": low,
                    "high": high,
                    "p": contrast.p if contrast else None,
                    "p_holm": contrast.p_holm if contrast else None,
                }
            )
        return found


def jobs_of(config: TransferConfig, encoders: int) -> list[Job]:
    """Return all jobs of a comparison of weighting methods, seed by seed."""
    return [
        Job(seed, scheme, encoder, method)
        for seed in range(config.seeds)
        for scheme in config.trained_schemes
        for encoder in range(encoders)
        for method in config.compared
    ]


def compare_methods(
    run: RunJob,
    mapper: Mapper = map,
    progress: Progress | None = None,
    begin: Callable[[int], None] | None = None,
) -> Comparison[TransferConfig]:
    """Compare the weighting methods of ``run.config``. Finished jobs are loaded instead of run.

    Args:
        run: Runs one job.
        mapper: Ordered map over independent jobs.
        progress: Called after each job that was run.
        begin: Called with the number of jobs once the data have been found to suit the tasks.

    Raises:
        RequestError: The data do not suit the tasks; raised before anything is trained.
        WorkError: A training diverged: any, or with ``run.keep_diverged`` one of a control.
    """
    names = run.source.encoders
    problems = [rehearse(run, place) for place in range(len(names))]
    jobs = jobs_of(run.config, len(names))
    if begin:
        begin(len(jobs))
    results = run_jobs(run, jobs, mapper, progress)
    found = method_comparison(run.config, names, results, problems[0].lower_is_better)
    return replace(found, references=run.references())


def method_comparison(
    config: TransferConfig, encoders: Sequence[str], results: dict[Job, TrainingResult], lower: frozenset[str]
) -> Comparison[TransferConfig]:
    """Build the comparison of weighting methods from job results; the control is training without auxiliary tasks.

    The control of the rows of scheme auto is training from scratch without auxiliary tasks. A row of which a training
    diverged is left out: the mean over its other seeds would be too good.

    Raises:
        DivergedError: A training of a control diverged.
    """
    named = {(Row(job.method, encoders[job.encoder], job.scheme), job.seed): found for job, found in results.items()}
    diverged: dict[Row, dict[int, str]] = {}
    for (row, seed), found in named.items():
        if found.diverged:
            diverged.setdefault(row, {})[seed] = found.diverged
            if row.method == CONTROL:
                raise DivergedError(f"{', '.join(row)}, seed {seed}: {found.diverged}")
    named = {place: found for place, found in named.items() if place[0] not in diverged}
    controls = {row: row._replace(method=CONTROL) for row, _ in named if row.method != CONTROL}
    if AUTO not in config.schemes:
        return Comparison(config, controls, named, lower, diverged=diverged)
    same_rows = config.weighting.judge != "validation"  # which takes another half of them for every seed
    chosen, gains = chosen_by_validation(named, lower, config.auto_margin, same_rows)
    controls |= {row: Row(CONTROL, row.encoder, SCHEMES[0]) for row in gains}
    return Comparison(config, controls, named | chosen, lower, gains=gains, diverged=diverged)


Results = dict[tuple[Row, int], TrainingResult]


def chosen_by_validation(
    results: Results, lower: frozenset[str], margin: float, same_rows: bool = True
) -> tuple[Results, dict[Row, list[Gain]]]:
    """Choose one training for each method and encoder, the same for all seeds.

    The candidates are the control and the method under all schemes; see :mod:`distgnn.auxiliary.choice`. Equal ones go to
    the control and to the first scheme. The seconds are those of all candidates.

    Args:
        results: The results of the candidates.
        lower: Metrics where lower is better.
        margin: Standard errors by which a candidate must be better than the control from scratch.
        same_rows: Whether all seeds have the same validation rows.

    Returns:
        The rows of scheme auto, seed by seed, and the validation gains of their candidates.
    """
    rows, seeds = (list(dict.fromkeys(column)) for column in zip(*results, strict=True))
    found: Results = {}
    gains: dict[Row, list[Gain]] = {}
    for row in dict.fromkeys(row._replace(scheme=AUTO) for row in rows):
        tried = [one for one in rows if one.encoder == row.encoder and one.method in (CONTROL, row.method)]
        candidates = [[results[one, seed] for seed in seeds] for one in tried]
        sign = -1 if candidates[0][0].metrics[0] in lower else 1
        gains[row] = [
            validation_gain(f"{one.method}, {one.scheme}", candidate, candidates[0], sign, same_rows)
            for one, candidate in zip(tried, candidates, strict=True)
        ]
        beyond = [gain.beyond(margin) for gain in gains[row]]
        best = beyond.index(max(beyond))
        for seed, *own in zip(seeds, *candidates, strict=True):
            found[row, seed] = replace(
                own[best],
                seconds=sum(one.seconds for one in own),
                start_seconds=max(one.start_seconds for one in own),
                chosen=gains[row][best].training,
            )
    return found, gains

"""Fine-tuning of graph-level labels: every method with every seed, always beside the same encoder without pre-training.

Jobs of one seed draw the same batches, the same head and the same dropout, so methods are compared in pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distgnn.config import EncoderConfig, FinetuneConfig
from distgnn.corpus.writer import Mapper
from distgnn.errors import RequestError
from distgnn.finetuning.job_cache import Kept
from distgnn.finetuning.trainer import Method, Outcome, RunJob
from distgnn.labels.dataset import LabelledSet, load_labelled
from distgnn.labels.scores import METRIC_OF

CONTROL = "none"


@dataclass(frozen=True)
class Result:
    """What a table or a file is made from. outcomes: seed by seed, methods in order. controls: the control of each method."""

    config: FinetuneConfig
    data: LabelledSet
    methods: tuple[str, ...]
    controls: dict[str, str]
    outcomes: tuple[Outcome, ...]

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return METRIC_OF[self.data.target.task]


def finetune(
    config: FinetuneConfig,
    methods: Sequence[Method],
    mapper: Mapper = map,
    device: str = "cpu",
    progress: Callable[[int, int, Outcome], None] | None = None,
    kept: Kept | None = None,
) -> Result:
    """Fine-tune every method with seeds 0..config.seeds-1, and the control: the same architecture, freshly initialised.

    mapper: an ordered map over independent jobs. progress: called after each job with (jobs done, jobs in all, outcome).
    kept: where outcomes are kept as they come; jobs that are there already are not run again.
    Raises RequestError where corpus, labels, split or a checkpoint's features do not fit; WorkError where training diverges.
    """
    everything, controls = with_controls(methods, config.encoder)
    data = load_labelled(config)
    for method in methods:
        if method.schema is not None:
            method.schema.check_features(data.schema, f"{method.name} cannot read {config.corpus}")
    jobs = [(seed, number) for seed in range(config.seeds) for number in range(len(everything))]
    found = {job: kept.load(everything[job[1]], job[0]) for job in jobs} if kept else {}
    done = {job: outcome for job, outcome in found.items() if outcome is not None}
    missing = [job for job in jobs if job not in done]
    for job, outcome in zip(missing, mapper(RunJob(config, data, everything, device), missing), strict=True):
        done[job] = outcome
        if kept:
            kept.save(everything[job[1]], outcome)
        if progress:
            progress(len(done), len(jobs), outcome)
    outcomes = tuple(done[job] for job in jobs)
    return Result(config, data, tuple(method.name for method in everything), controls, outcomes)


def with_controls(methods: Sequence[Method], encoder: EncoderConfig) -> tuple[tuple[Method, ...], dict[str, str]]:
    """(``methods`` and after them one control for each of their architectures, the control's name for each method).

    The control is "none"; where architectures differ, "none (NAME)" with the first method of the architecture. Without
    methods it has the architecture ``encoder``.
    """
    names = [method.name for method in methods]
    taken = [name for name in names if names.count(name) > 1 or name.split(" ")[0] == CONTROL]
    if taken:
        raise RequestError(
            f"method name {taken[0]!r}: names must differ and must not be {CONTROL!r}, the control's own"
        )
    firsts: dict[EncoderConfig, str] = {}
    for method in methods:
        firsts.setdefault(method.encoder, method.name)
    if len(firsts) < 2:
        control_of = dict.fromkeys(firsts or [encoder], CONTROL)
    else:
        control_of = {config: f"{CONTROL} ({name})" for config, name in firsts.items()}
    added = tuple(Method(name, config) for config, name in control_of.items())
    return (*methods, *added), {method.name: control_of[method.encoder] for method in methods}

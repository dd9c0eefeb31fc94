"""Training on labels for a fixed number of updates, without validation data, tested after given numbers of updates."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from distgnn.auxiliary.problem import MultiTaskProblem, PartEvaluation
from distgnn.auxiliary.step import StepRecord
from distgnn.auxiliary.trainer import CURVES, Trainer, TrainingResult, check_weights_finite, update_running_stats

Measure = Callable[[], dict[str, float]]
"""Measures a network in training: finite values by name."""


def train_updates(
    trainer: Trainer, updates: Sequence[int], part: str = "test", measure: Measure | None = None
) -> TrainingResult:
    """Train until the last of ``updates``, and evaluate ``part`` after each of them in the same training.

    Args:
        trainer: A new trainer; its epochs and patience are not used.
        updates: Ascending numbers of updates; 0 = before the first.
        part: The part to evaluate.
        measure: Called at every evaluation; its values are further metrics of the result. It must not change the network.

    Returns:
        A result whose parts are the numbers of updates, as text; there is no validation and no best epoch.

    Raises:
        WorkError: The training diverged.
    """
    start, found = time.perf_counter(), dict[str, PartEvaluation]()
    records: list[StepRecord] = []
    for number in range(updates[-1] + 1):
        if number:
            records.append(trainer.step.step(number - 1))
            update_running_stats(trainer.problem.shared, trainer.group)
        if number in updates:
            check_weights_finite(trainer.trained, f"update {number}", trainer.config.lr)
            evaluated = trainer.problem.evaluate(part)
            measured = measure() if measure else {}
            found[str(number)] = replace(evaluated, scores=evaluated.scores | measured)
    return _result(trainer.problem, found, records, time.perf_counter() - start)


def _result(
    problem: MultiTaskProblem, found: dict[str, PartEvaluation], records: list[StepRecord], seconds: float
) -> TrainingResult:
    measured = [name for name in next(iter(found.values())).scores if name not in problem.metrics]
    return TrainingResult(
        tasks=problem.names,
        metrics=(*problem.metrics, *measured),
        best_epoch=0,
        seconds=seconds,
        validation=(),
        scores={updates: evaluated.scores for updates, evaluated in found.items()},
        coverage={updates: evaluated.coverage for updates, evaluated in found.items()},
        predictions={},
        curves={name: np.array([getattr(record, name) for record in records], np.float32) for name in CURVES},
        meta_loss=np.array([record.meta_loss for record in records], np.float32),
    )

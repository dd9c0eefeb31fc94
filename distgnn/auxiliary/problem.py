"""Protocol of a multi-task problem: a target task, auxiliary tasks, and the network they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

Rows = npt.NDArray[np.int64]
JUDGE = "judge"
"""The part of the rows that :meth:`MultiTaskProblem.split_validation` takes."""


@dataclass(frozen=True)
class Samples:
    """Losses of one task on this rank's share of a step. The task's loss is sum(losses) / sum(count), both over ranks.

    Attributes:
        losses: float [n], differentiable, one per sample; or [1], the sum, for a loss that cannot be split into samples
            (``summed``).
        labels: float [n], detached, the label signal of SELAR; zeros for samples without labels.
        count: Float scalar, number of samples in ``losses`` (n unless ``summed``).
    """

    losses: Tensor
    labels: Tensor
    count: Tensor
    summed: bool = False


def scaled(samples: list[Samples], factors: Sequence[float]) -> list[Samples]:
    """Return the samples of tasks with their losses multiplied by ``factors``, one for each task; without factors, as they are."""
    if not factors:
        return samples
    return [replace(one, losses=factor * one.losses) for one, factor in zip(samples, factors, strict=False)]


@dataclass(frozen=True)
class PartEvaluation:
    """Metrics of the target on one part of the data.

    Args:
        scores: Value of each metric.
        coverage: Share of the labels that the metric is defined for.
        predictions: float32 [rows of the part, T], if the target's predictions are kept.
        influence: float64 [rows of the part], influence of the rows on the first metric; given for "val" only.
    """

    scores: dict[str, float]
    coverage: float = 1.0
    predictions: npt.NDArray[np.floating[Any]] | None = field(default=None, repr=False)
    influence: npt.NDArray[np.float64] | None = field(default=None, repr=False)


class MultiTaskProblem(Protocol):
    """K + 1 tasks on one shared encoder. All randomness of a step is a function of (seed, step).

    Attributes:
        names: Names of the tasks, the target first.
        shared: The network used by all tasks.
        heads: One module per task, used by that task only.
        rows: Number of training rows of the target.
        validation: Number of its validation rows, those of the judge included.
        strata: int64 [rows], classes for stratified folds; zeros for rows without classes.
        metrics: Names of the metrics of ``evaluate``; the first selects the epoch.
        lower_is_better: Metrics where lower is better.
        parts: Parts on which a finished training is evaluated, including "val".
        loss_scales: Factors of the auxiliary tasks' losses in :meth:`losses`; empty = 1.
        judges: Number of rows that :meth:`split_validation` took from the validation part.
    """

    names: tuple[str, ...]
    shared: nn.Module
    heads: nn.ModuleList
    rows: int
    validation: int
    strata: Rows
    metrics: tuple[str, ...]
    lower_is_better: frozenset[str]
    parts: tuple[str, ...]
    loss_scales: tuple[float, ...]
    judges: int

    def split_validation(self, seed: int) -> None:
        """Take half of the validation rows, a function of the seed, for :meth:`fetch_unseen`.

        The part "val" then consists of the other half.

        Raises:
            RequestError: There are too few rows.
        """
        ...

    def fetch(self, folds: Sequence[Rows], step: int, auxiliary: bool = True) -> Any:
        """Return this rank's share of a step, on the device. Does not change the model, so it may be called ahead.

        Args:
            folds: Rows of the target in each of one or more folds, of all ranks.
            step: Number of the step; it determines the samples of the auxiliary tasks.
            auxiliary: Whether ``losses`` returns samples of the auxiliary tasks; otherwise it returns none.
        """
        ...

    def fetch_unseen(self, rows: Rows, step: int) -> Any:
        """Return this rank's share of rows that are evaluated like rows that training does not know, as fold 0 of a batch.

        The batch is for ``fold_losses``. The rows are training rows or, after :meth:`split_validation`, those that it took.
        """
        ...

    def losses(self, batch: Any) -> tuple[list[Samples], list[Samples]]:
        """Return the target's samples of each fold and the samples of each auxiliary task.

        They come from one forward pass if possible. The losses of a fold never depend on rows of another fold,
        normalisation included.
        """
        ...

    def fold_losses(self, batch: Any, fold: int) -> Samples:
        """Return the target's samples of one fold, the same as in ``losses``, at the current parameters."""
        ...

    def evaluate(self, part: str) -> PartEvaluation:
        """Return the metrics of the target on ``part`` at the current parameters, computed in evaluation mode."""
        ...

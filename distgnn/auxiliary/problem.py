"""Protocol of a multi-task problem: a target task, auxiliary tasks, and the network they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """Losses of one task on this rank's share of a step. The task's loss is sum(losses) / sum(count), both over ranks.

    losses: [n], differentiable, one a sample; or [1], the sum of a loss that only exists as a whole (``whole`` is then true).
    labels: [n], detached, what SELAR's label signal sees; zeros where samples have none. count: float scalar, how many
    samples ``losses`` stands for (n where not whole).
    """

    losses: Tensor
    labels: Tensor
    count: Tensor
    whole: bool = False


@dataclass(frozen=True)
class PartEvaluation:
    """The target's metrics on one part of the data.

    Args:
        scores: Value by metric.
        coverage: Share of the labels that the metric is defined for.
        predictions: float32 [rows of the part, T], where the target's predictions are kept.
    """

    scores: dict[str, float]
    coverage: float = 1.0
    predictions: npt.NDArray[np.floating[Any]] | None = field(default=None, repr=False)


class MultiTaskProblem(Protocol):
    """K + 1 tasks on one shared encoder. Everything random in a step is a function of (seed, step).

    names: of the tasks, the target first. shared: what all tasks read. heads: one module a task, read by it alone.
    rows: how many training rows the target has. strata: int64 [rows], classes that folds get equal shares of; zeros where
    rows have none. metrics: names of what ``evaluate`` gives, the one that selects first;
    higher is better for each of them unless it is in ``lower_is_better``. parts: what a finished training is evaluated on,
    "val" among them.
    """

    names: tuple[str, ...]
    shared: nn.Module
    heads: nn.ModuleList
    rows: int
    strata: Rows
    metrics: tuple[str, ...]
    lower_is_better: frozenset[str]
    parts: tuple[str, ...]

    def fetch(self, folds: Sequence[Rows], step: int) -> Any:
        """This rank's share of a step, ready on the device: the target's rows of each fold (one or more; numbers below
        ``rows``, of all ranks) and as many samples of each auxiliary task as a step has. Changes no model; may run ahead."""
        ...

    def losses(self, batch: Any) -> tuple[list[Samples], list[Samples]]:
        """(the target's samples fold by fold, the samples of each auxiliary task), from one forward pass where possible.

        A fold's losses never depend on rows of another fold (normalisation included)."""
        ...

    def fold_losses(self, batch: Any, fold: int) -> Samples:
        """The target's samples of one fold, the same as in ``losses``, at the parameters as they are now."""
        ...

    def evaluate(self, part: str) -> PartEvaluation:
        """Metrics of the target on ``part`` at the parameters as they are now, in evaluation mode."""
        ...

"""What a joint training needs to know of its data: a target task, auxiliary tasks, and what their losses share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


class MultiTaskProblem(Protocol):
    """K + 1 tasks on one shared encoder. Everything random in a step is a function of (seed, step).

    names: of the tasks, the target first. shared: what all tasks read. heads: one module a task, read by it alone.
    rows: how many training rows the target has. strata: int64 [rows], classes that folds get equal shares of; zeros where
    rows have none. metrics: names of what ``scores`` gives, the one that selects first;
    higher is better for each of them unless it is in ``lower_is_better``.
    """

    names: tuple[str, ...]
    shared: nn.Module
    heads: nn.ModuleList
    rows: int
    strata: Rows
    metrics: tuple[str, ...]
    lower_is_better: frozenset[str]

    def fetch(self, folds: Sequence[Rows], step: int) -> Any:
        """This rank's share of a step, ready on the device: the target's rows of each fold (numbers below ``rows``, of all
        ranks) and as many samples of each auxiliary task as a step has. Makes no difference to any model; may run ahead."""
        ...

    def losses(self, batch: Any) -> tuple[list[Samples], list[Samples]]:
        """(the target's samples fold by fold, the samples of each auxiliary task), from one forward pass where possible.

        A fold's losses never depend on rows of another fold (normalisation included)."""
        ...

    def fold_losses(self, batch: Any, fold: int) -> Samples:
        """The target's samples of one fold, the same as in ``losses``, at the parameters as they are now."""
        ...

    def scores(self, part: str) -> dict[str, float]:
        """Metrics of the target on "val" or "test" at the parameters as they are now, in evaluation mode."""
        ...

"""The one signature of every weighting method, and what it may look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from distgnn.config import WeightingConfig


@dataclass(frozen=True)
class Signals:
    """What is known of R rows to be weighed: the K + 1 tasks, or this rank's samples one by one. Nothing carries gradients.

    task: int64 [R], 0 = the target. loss, label: float [R], raw (a task's are means over all ranks). cosines: [K + 1], of the
    auxiliary gradients with the target's, the target's own 1; NaN where the method asked for no gradients. shared: [K + 1, P],
    gradients of the tasks' mean losses with respect to the shared parameters; only for methods that read them.
    """

    task: Tensor
    loss: Tensor
    label: Tensor
    cosines: Tensor
    shared: Tensor | None = None


@dataclass(frozen=True)
class WeightingContext:
    """What a method is built from, besides its own options.

    Attributes:
        options: Options that methods share, every automatic one settled.
        names: The tasks, the target first.
        seed: Of the training.
    """

    options: WeightingConfig
    names: tuple[str, ...]
    seed: int

    @property
    def tasks(self) -> int:
        """How many tasks there are, the target among them."""
        return len(self.names)


class Weighting(nn.Module):
    """A method: signals to weights, one a row. A new method is one file, see
    :mod:`distgnn.register`.

    reads: what must be computed for it, beside losses: nothing, the tasks' gradients and their cosines, or also the matrix of
    gradients. learns: how its own parameters are trained: not at all, by the joint loss with :meth:`penalty` added, or by the
    target's loss after a look-ahead step. alone: only the target is trained. plain_heads: a task's head is trained by the
    task's own loss, whatever its weight. per_sample: rows are samples where a task has them. normalised: weights are divided
    by the target's mean weight.
    """

    reads: Literal["losses", "cosines", "gradients"] = "losses"
    learns: Literal["nothing", "joint", "meta"] = "nothing"
    alone = plain_heads = per_sample = normalised = False

    def __init__(self, config: Any = None, context: WeightingContext | None = None) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, signals: Signals) -> Tensor:
        """Weights [R], not negative; differentiable with respect to the method's own parameters."""
        raise NotImplementedError

    def penalty(self) -> Tensor:
        """What the joint loss holds beside the weighted losses; a scalar."""
        return torch.zeros(())

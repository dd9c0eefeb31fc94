"""Interface of weighting methods, and the signals they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from distgnn.config import WeightingConfig


@dataclass(frozen=True)
class Signals:
    """Signals of R rows to be weighted: the K + 1 tasks, or this rank's samples. All tensors are detached.

    Attributes:
        task: int64 [R], 0 = the target.
        loss, label: float [R], not normalised; means over all ranks if a row is a task.
        cosines: [K + 1], cosines of the tasks' gradients with the target's (1 for the target); NaN unless the method
            reads gradients.
        shared: [K + 1, P], gradients of the tasks' mean losses w.r.t. the shared parameters; only for methods that read
            them.
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
        options: Options common to all methods, with automatic values resolved.
        names: Names of the tasks, the target first.
        seed: Training seed.
    """

    options: WeightingConfig
    names: tuple[str, ...]
    seed: int

    @property
    def tasks(self) -> int:
        """Number of tasks, including the target."""
        return len(self.names)


class Weighting(nn.Module):
    """A weighting method: a module that maps signals to one weight per row.

    Register it with :data:`distgnn.register.weighting`.

    Attributes:
        reads: Inputs besides the losses: none, the tasks' gradients and their cosines, or also the matrix of gradients.
        learns: How its own parameters are trained: not at all, by the weighted loss plus :meth:`penalty`, or by the
            target's loss after a look-ahead step.
        alone: Whether only the target is trained.
        plain_heads: Whether a task's head is trained by the unweighted loss of the task.
        per_sample: Whether rows are samples (for tasks with samples).
        normalised: Whether weights are divided by the target's mean weight.
        own_options: The options of :class:`WeightingConfig` that the class itself reads; None = not known, so that no
            option of the weighting counts as unread.
    """

    reads: Literal["losses", "cosines", "gradients"] = "losses"
    learns: Literal["nothing", "joint", "meta"] = "nothing"
    alone = plain_heads = per_sample = normalised = False
    own_options: frozenset[str] | None = None

    def __init__(self, config: Any = None, context: WeightingContext | None = None) -> None:  # noqa: ARG002
        super().__init__()

    @classmethod
    def weights_samples(cls, options: WeightingConfig) -> bool:  # noqa: ARG003
        """Return whether ``per_sample`` holds with these options."""
        return cls.per_sample

    @property
    def by_task(self) -> bool:
        """Whether the method gives weights to tasks whose scale it does not read from the matrix of gradients.

        Only then may the model's step have Adam moments per task.
        """
        return not self.per_sample and self.reads != "gradients"

    def forward(self, signals: Signals) -> Tensor:
        """Return weights [R], not negative and differentiable w.r.t. the method's own parameters."""
        raise NotImplementedError

    def advice(self, updates: int, rate: float) -> str:  # noqa: ARG002
        """Return why ``updates`` steps of Adam with learning rate ``rate`` cannot train the weights; "" if they can."""
        return ""

    def penalty(self) -> Tensor:
        """Return the scalar that is added to the weighted losses."""
        return torch.zeros(())

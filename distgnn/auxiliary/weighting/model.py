"""Weighting model: a 2-layer network from signals to a positive weight (AUX-TS, section 3.2 and appendix A)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn.auxiliary.weighting.signals import Signals, Weighting, WeightingContext
from distgnn.config import WeightingConfig

NEAR_ZERO = 0.01
"""A weight that counts as 0."""
MODEL_OPTIONS = frozenset({"hidden", "output", "normalise", "granularity", "types"})
"""The options of WeightingConfig that every weighting model reads."""
_EMBEDDING = 8
_OUTPUTS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[float], float], float]] = {
    "softplus": (F.softplus, lambda weight: math.log(math.expm1(weight)), 1.0),
    "sigmoid": (torch.sigmoid, lambda weight: math.log(weight / (1 - weight)), 0.5),
}
"""Output function, its inverse, and the target's initial weight."""


class WeightModel(Weighting):
    """weight = output(W2 relu(W1 [signals of the row, embedding of its task] + b1) + b2 + offset of its task).

    The offsets are zero in the papers. With a start, W2 and b2 are zero and the offsets give the target the weight 1 (0.5
    for a sigmoid) and every auxiliary task ``start`` times as much.

    Args:
        config: The method's own options.
        context: Common options and tasks.
        extra: Number of signals that :meth:`see` adds to the loss.
        start: Initial weight of auxiliary tasks, relative to the target's; 0 = as published.
    """

    learns = "meta"
    own_options = MODEL_OPTIONS
    offset: Tensor

    def __init__(self, config: Any, context: WeightingContext, extra: int, start: float = 0.0) -> None:
        super().__init__(config, context)
        shared, tasks = context.options, context.tasks
        self.per_sample, self.normalised = self.weights_samples(shared), bool(shared.normalise)
        self.types = nn.Embedding(tasks, _EMBEDDING if shared.types == "learned" else tasks)
        if shared.types == "onehot":
            self.types = nn.Embedding.from_pretrained(torch.eye(tasks))
        self.hidden = nn.Linear(1 + extra + self.types.embedding_dim, shared.hidden)
        self.out = nn.Linear(shared.hidden, 1)
        self.activation, self._inverse, self._target = _OUTPUTS[shared.output]
        self.start, offset = start, torch.zeros(tasks)
        if start:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)
            wanted = [self._target] + [self._target * start] * (tasks - 1)
            offset = torch.tensor([self._inverse(value) for value in wanted])
        self.register_buffer("offset", offset)

    @classmethod
    def weights_samples(cls, options: WeightingConfig) -> bool:
        """Return whether the model gives weights to samples."""
        return options.settled().granularity == "sample"

    def see(self, signals: Signals) -> Tensor:
        """Return float [R, extra]: the signals besides loss and task."""
        raise NotImplementedError

    def forward(self, signals: Signals) -> Tensor:
        """Return weights [R]."""
        return self.activation(self._before_output(signals))

    def advice(self, updates: int, rate: float) -> str:
        """Compare the distance from the start to 0 (NEAR_ZERO) and 1 with what Adam's steps of size ``rate`` can move.

        A step changes every parameter by about ``rate`` or less, so the value before the output function changes by about
        ``rate`` times the sum of the absolute values of its gradient. That sum grows with the loss and changes in training;
        here it is that of the initial model and a loss of 1.
        """
        if not self.start or self.learns == "nothing":
            return ""
        reach = updates * rate * self._slope()
        place, target = self._inverse(self.start * self._target), self._target
        wanted = {"0": self._inverse(NEAR_ZERO * target), "1": self._inverse(target * (1 - 1e-6))}
        needs = {name: abs(value - place) for name, value in wanted.items()}
        missed = [name for name, distance in needs.items() if distance > reach]
        if not missed:
            return ""
        far = " and ".join(f"{needs[name]:.2f} to {name}" for name in missed)
        return (
            f"{updates} updates of the weights with weighting.lr={rate:g} move the output by about {reach:.2f}, and from"
            f" {self.start:g} it is {far}"
        )

    def _slope(self) -> float:
        """Return the sum of absolute derivatives of the value before the output function, for a loss of 1."""
        tasks = len(self.offset)
        signals = Signals(torch.tensor([tasks - 1]), torch.ones(1), torch.ones(1), torch.ones(tasks))
        own = [parameter for parameter in self.parameters() if parameter.requires_grad]
        found = torch.autograd.grad(self._before_output(signals).sum(), own, allow_unused=True)
        return sum(float(part.abs().sum()) for part in found if part is not None)

    def _before_output(self, signals: Signals) -> Tensor:
        columns = [signals.loss.unsqueeze(1), self.see(signals), self.types(signals.task)]
        found = self.out(F.relu(self.hidden(torch.cat(columns, dim=1)))).squeeze(1)
        return found + self.offset[signals.task]

"""The control: no auxiliary task."""

from __future__ import annotations

from torch import Tensor

from distgnn import register
from distgnn.auxiliary.weighting.signals import Signals, Weighting


@register.weighting("none")
class NoAuxiliary(Weighting):
    """1 for the target, 0 for the others."""

    alone = True

    def forward(self, signals: Signals) -> Tensor:
        """Weights [R]."""
        return (signals.task == 0).to(signals.loss.dtype)

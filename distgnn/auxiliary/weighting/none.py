"""Control of the weighting methods: training without auxiliary tasks."""

from __future__ import annotations

from torch import Tensor

from distgnn import register
from distgnn.auxiliary.weighting.signals import Signals, Weighting


@register.weighting("none")
class NoAuxiliary(Weighting):
    """Train on the target only: weight 1 for the target, 0 for the auxiliary tasks."""

    alone = True
    own_options = frozenset()

    def forward(self, signals: Signals) -> Tensor:
        """Return weights [R]."""
        return (signals.task == 0).to(signals.loss.dtype)

"""Weighting by gradient similarity (Du et al., "Adapting auxiliary losses using gradient similarity", 2018)."""

from __future__ import annotations

from torch import Tensor

from distgnn import register
from distgnn.auxiliary.weighting.signals import Signals, Weighting


@register.weighting("cosine")
class CosineGate(Weighting):
    """Use a task's gradient of shared parameters if its cosine with the target's is not negative (Du et al., 2018).

    The unweighted version. Heads are always trained.
    """

    reads = "cosines"
    plain_heads = True
    own_options = frozenset()

    def forward(self, signals: Signals) -> Tensor:
        """Return weights [R], each 0 or 1."""
        return (signals.cosines[signals.task] >= 0).to(signals.loss.dtype)

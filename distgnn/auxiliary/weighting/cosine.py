"""The gate of Du et al., "Adapting auxiliary losses using gradient similarity" (2018), section 3, unweighted."""

from __future__ import annotations

from torch import Tensor

from distgnn import register
from distgnn.auxiliary.weighting.signals import Signals, Weighting


@register.weighting("cosine")
class CosineGate(Weighting):
    """Shared parameters take a task's gradient where its cosine with the target's is not negative; heads always learn."""

    reads = "cosines"
    plain_heads = True

    def forward(self, signals: Signals) -> Tensor:
        """Weights [R], each 0 or 1."""
        return (signals.cosines[signals.task] >= 0).to(signals.loss.dtype)

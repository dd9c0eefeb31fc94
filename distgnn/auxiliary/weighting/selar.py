"""SELAR's weighting (Hwang et al., "Self-supervised auxiliary learning with meta-paths", NeurIPS 2020, section 3.1)."""

from __future__ import annotations

from torch import Tensor

from distgnn import register
from distgnn.auxiliary.weighting.model import WeightModel
from distgnn.auxiliary.weighting.signals import Signals, WeightingContext


@register.weighting("selar")
class Selar(WeightModel):
    """Sees loss, type and label; published per sample, with sigmoid, normalised by the target's weights."""

    def __init__(self, config: None, context: WeightingContext) -> None:
        super().__init__(config, context, extra=1)

    def see(self, signals: Signals) -> Tensor:
        """The label [R, 1]."""
        return signals.label.unsqueeze(1)

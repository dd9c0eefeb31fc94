"""Weighting by SELAR (Hwang et al., "Self-supervised auxiliary learning with meta-paths", NeurIPS 2020).

Section 3.1.
"""

from __future__ import annotations

from torch import Tensor

from distgnn import register
from distgnn.auxiliary.weighting.model import WeightModel
from distgnn.auxiliary.weighting.signals import Signals, WeightingContext


@register.weighting("selar")
class Selar(WeightModel):
    """A weighting model that reads loss, task and label (SELAR, Hwang et al., NeurIPS 2020).

    Published with weights per sample, sigmoid output and division by the target's mean weight.
    """

    def __init__(self, config: None, context: WeightingContext) -> None:
        super().__init__(config, context, extra=1)

    def see(self, signals: Signals) -> Tensor:
        """Return the label [R, 1]."""
        return signals.label.unsqueeze(1)

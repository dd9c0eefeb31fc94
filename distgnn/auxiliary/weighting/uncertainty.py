"""Weighting by homoscedastic uncertainty (Kendall, Gal and Cipolla, CVPR 2018).

Kendall, Gal and Cipolla, "Multi-task learning using uncertainty to weigh losses", section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distgnn import register
from distgnn.auxiliary.weighting.signals import Signals, Weighting, WeightingContext


@register.weighting("uncertainty")
class Uncertainty(Weighting):
    """Joint loss sum_i exp(-s_i) l_i + s_i with learned s = log sigma^2 (Kendall et al., CVPR 2018, up to constants)."""

    learns = "joint"
    own_options = frozenset()

    def __init__(self, config: None, context: WeightingContext) -> None:
        super().__init__(config, context)
        self.log_variance = nn.Parameter(torch.zeros(context.tasks))

    def forward(self, signals: Signals) -> Tensor:
        """Return weights exp(-s) [R]."""
        return torch.exp(-self.log_variance)[signals.task]

    def penalty(self) -> Tensor:
        """Return sum_i s_i."""
        return self.log_variance.sum()

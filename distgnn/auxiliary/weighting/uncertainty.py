"""Kendall, Gal and Cipolla, "Multi-task learning using uncertainty to weigh losses", CVPR 2018."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distgnn import register
from distgnn.auxiliary.weighting.signals import Signals, Weighting, WeightingContext


@register.weighting("uncertainty")
class Uncertainty(Weighting):
    """Joint loss sum_i exp(-s_i) l_i + s_i (their section 3.2 with s = log sigma^2, up to constants); it trains s too."""

    learns = "joint"

    def __init__(self, config: None, context: WeightingContext) -> None:
        super().__init__(config, context)
        self.log_variance = nn.Parameter(torch.zeros(context.tasks))

    def forward(self, signals: Signals) -> Tensor:
        """Weights exp(-s) [R]."""
        return torch.exp(-self.log_variance)[signals.task]

    def penalty(self) -> Tensor:
        """sum_i s_i."""
        return self.log_variance.sum()

"""Weights that are given and stay."""

from __future__ import annotations

import torch
from torch import Tensor

from distgnn import register
from distgnn.auxiliary.weighting.signals import Signals, Weighting, WeightingContext
from distgnn.errors import RequestError


@register.weighting("fixed")
class Fixed(Weighting):
    """The weights ``weighting.fixed`` (the target's first); empty = 1 each, as in the AUX-TS paper's section 4.1."""

    values: Tensor

    def __init__(self, config: None, context: WeightingContext) -> None:
        super().__init__(config, context)
        values, names = context.options.fixed, context.names
        if values and len(values) != len(names):
            raise RequestError(
                f"weighting.fixed holds {len(values)} weights for {len(names)} tasks; give one each for {', '.join(names)}"
            )
        self.register_buffer("values", torch.tensor(values or (1.0,) * len(names)))

    def forward(self, signals: Signals) -> Tensor:
        """Weights [R]."""
        return self.values[signals.task]

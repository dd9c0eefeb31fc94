"""Weighting by constant weights."""

from __future__ import annotations

import torch
from torch import Tensor

from distgnn import register
from distgnn.auxiliary.weighting.signals import Signals, Weighting, WeightingContext
from distgnn.errors import RequestError


@register.weighting("fixed")
class Fixed(Weighting):
    """Constant weights ``weighting.fixed``, the target's first; empty = 1 for each task (AUX-TS, section 4.1)."""

    values: Tensor
    own_options = frozenset({"fixed"})

    def __init__(self, config: None, context: WeightingContext) -> None:
        super().__init__(config, context)
        values, names = context.options.fixed, context.names
        if values and len(values) != len(names):
            raise RequestError(
                f"weighting.fixed holds {len(values)} weights for {len(names)} tasks; give one each for {', '.join(names)}"
            )
        self.register_buffer("values", torch.tensor(values or (1.0,) * len(names)))

    def forward(self, signals: Signals) -> Tensor:
        """Return weights [R]."""
        return self.values[signals.task]

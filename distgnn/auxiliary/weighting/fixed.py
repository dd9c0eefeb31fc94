"""Weights that are given and stay."""

from __future__ import annotations

import torch
from torch import Tensor

from distgnn.auxiliary.weighting.signals import Signals, Weighting
from distgnn.errors import RequestError


class Fixed(Weighting):
    """The weights ``values`` of ``names`` (the target first); empty = 1 each, as in the AUX-TS paper's section 4.1."""

    values: Tensor

    def __init__(self, values: tuple[float, ...], names: tuple[str, ...]) -> None:
        super().__init__()
        if values and len(values) != len(names):
            raise RequestError(
                f"weighting.fixed holds {len(values)} weights for {len(names)} tasks; give one each for {', '.join(names)}"
            )
        self.register_buffer("values", torch.tensor(values or (1.0,) * len(names)))

    def forward(self, signals: Signals) -> Tensor:
        """Weights [R]."""
        return self.values[signals.task]

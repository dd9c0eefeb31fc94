"""Factory of weighting methods."""

from __future__ import annotations

import torch

from distgnn import register
from distgnn.auxiliary.weighting.signals import Weighting, WeightingContext
from distgnn.config import WeightingConfig
from distgnn.graph.keyed import key
from distgnn.graph.purposes import AuxiliaryDraw


def build_weighting(config: WeightingConfig, names: tuple[str, ...], seed: int) -> Weighting:
    """Build the method ``config.method`` for tasks ``names`` (the target first).

    The initial weights depend on the arguments only; the global random state is not changed.

    Raises:
        RequestError: The method is unknown, or its weights or library do not suit the tasks.
    """
    entry = register.weighting.get(config.method, "methods")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, AuxiliaryDraw.WEIGHTING))
        options = getattr(config, entry.name) if entry.config else None
        return entry.make(options, WeightingContext(config.settled(), names, seed))

"""The weighting method of a config."""

from __future__ import annotations

import torch

from distgnn import register
from distgnn.auxiliary.weighting.signals import Weighting, WeightingContext
from distgnn.config import WeightingConfig
from distgnn.graph.keyed import key
from distgnn.graph.purposes import AuxiliaryDraw


def build_weighting(config: WeightingConfig, names: tuple[str, ...], seed: int) -> Weighting:
    """Build the method ``config.method`` for tasks ``names`` (the target first).

    Its initial weights are a function of the arguments alone; global random state is left as it was.

    Raises:
        RequestError: The method is unknown, or its weights or library do not fit the tasks.
    """
    entry = register.weighting.get(config.method, "methods")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, AuxiliaryDraw.WEIGHTING))
        options = getattr(config, entry.name) if entry.config else None
        return entry.make(options, WeightingContext(config.settled(), names, seed))

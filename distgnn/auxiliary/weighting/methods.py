"""Weighting methods by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from distgnn.auxiliary.weighting.auxts import AllSimilarities, OneSimilarity
from distgnn.auxiliary.weighting.cosine import CosineGate
from distgnn.auxiliary.weighting.fixed import Fixed
from distgnn.auxiliary.weighting.frozen import Frozen
from distgnn.auxiliary.weighting.library import LibraryWeighting
from distgnn.auxiliary.weighting.none import NoAuxiliary
from distgnn.auxiliary.weighting.selar import Selar
from distgnn.auxiliary.weighting.signals import Weighting
from distgnn.auxiliary.weighting.uncertainty import Uncertainty
from distgnn.config import WeightingConfig
from distgnn.graph.keyed import key
from distgnn.graph.purposes import AuxiliaryDraw

METHODS: dict[str, Callable[[WeightingConfig, tuple[str, ...], int], Weighting]] = {
    "none": lambda config, names, seed: NoAuxiliary(),  # noqa: ARG005
    "fixed": lambda config, names, seed: Fixed(config.fixed, names),  # noqa: ARG005
    "cosine": lambda config, names, seed: CosineGate(),  # noqa: ARG005
    "selar": lambda config, names, seed: Selar(config, len(names)),  # noqa: ARG005
    "auxts_one": lambda config, names, seed: OneSimilarity(config, len(names)),  # noqa: ARG005
    "auxts_all": lambda config, names, seed: AllSimilarities(config, len(names)),  # noqa: ARG005
    "frozen": lambda config, names, seed: Frozen(config, len(names)),  # noqa: ARG005
    "uncertainty": lambda config, names, seed: Uncertainty(len(names)),  # noqa: ARG005
    "library": lambda config, names, seed: LibraryWeighting(config, len(names), seed),
}


def build_weighting(config: WeightingConfig, names: tuple[str, ...], seed: int) -> Weighting:
    """The method ``config.method`` for tasks ``names`` (the target first), its initial weights a function of the arguments
    alone; global random state is left as it was. Raises RequestError where weights or library do not fit the tasks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, AuxiliaryDraw.WEIGHTING))
        return METHODS[config.method](config.settled(), names, seed)

"""Factory of pre-training objectives."""

from __future__ import annotations

import torch

from distgnn import register
from distgnn.config import PretrainConfig
from distgnn.config.pretrain import UNTRAINED
from distgnn.graph.keyed import key
from distgnn.graph.purposes import PretrainDraw
from distgnn.graph.schema import Schema
from distgnn.objectives.base import Objective, ObjectiveContext


def reads_labels(name: str) -> bool:
    """Return whether the objective ``name`` reads labels; False for the control ``none``."""
    entry = register.objective.find(name)
    return entry is not None and bool(getattr(entry.make, "reads_labels", False))


def build_objective(config: PretrainConfig, schema: Schema) -> Objective | None:
    """Build the objective that ``config`` names.

    The initial weights depend on the arguments only; the global random state is not changed.

    Returns:
        The objective, or None for the control ``none``, which trains nothing.

    Raises:
        RequestError: The objective is unknown, or the corpus lacks the features it needs.
    """
    if config.objective == UNTRAINED:
        return None
    entry = register.objective.get(config.objective, "objective", (UNTRAINED,))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(config.train.seed, PretrainDraw.WEIGHTS))
        options = getattr(config, entry.name) if entry.config else None
        return entry.make(options, ObjectiveContext(schema, config))

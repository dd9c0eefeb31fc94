"""Objectives by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from distgnn.config import PretrainConfig
from distgnn.graph.keyed import key
from distgnn.graph.purposes import PretrainDraw
from distgnn.graph.schema import Schema
from distgnn.objectives.attrmasking import AttrMasking
from distgnn.objectives.base import Objective
from distgnn.objectives.contextpred import ContextPred
from distgnn.objectives.edgepred import EdgePred
from distgnn.objectives.graphcl import GraphCL
from distgnn.objectives.infomax import Infomax
from distgnn.objectives.l2p.objective import L2P
from distgnn.objectives.multitask import Multitask
from distgnn.objectives.structure import Structure
from distgnn.objectives.supervised import Supervised

OBJECTIVES: dict[str, Callable[[PretrainConfig, Schema], Objective | None]] = {
    "l2p": lambda config, schema: L2P(config.l2p),  # noqa: ARG005
    "attrmasking": lambda config, schema: AttrMasking(config.attrmasking, schema, config.encoder.width),
    "multitask": lambda config, schema: Multitask(config.multitask, config.attrmasking, schema, config.encoder.width),
    "structure": lambda config, schema: Structure(config.structure, config.encoder.width),  # noqa: ARG005
    "supervised": lambda config, schema: Supervised(config.supervised, schema, config.encoder.width, config.corpus),
    "edgepred": lambda config, schema: EdgePred(),  # noqa: ARG005
    "infomax": lambda config, schema: Infomax(config.encoder.width),  # noqa: ARG005
    "contextpred": ContextPred,
    "graphcl": lambda config, schema: GraphCL(config.graphcl, config.encoder.width),  # noqa: ARG005
    "none": lambda config, schema: None,  # noqa: ARG005
}


def build_objective(config: PretrainConfig, schema: Schema) -> Objective | None:
    """The objective a run asks for; None for the control that trains nothing. Raises RequestError where the corpus lacks
    what it needs. Its initial weights are a function of the arguments alone; global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(config.train.seed, PretrainDraw.WEIGHTS))
        return OBJECTIVES[config.objective](config, schema)

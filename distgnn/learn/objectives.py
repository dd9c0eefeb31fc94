"""Objectives by name."""

from __future__ import annotations

from distgnn.config import PretrainConfig
from distgnn.graph.schema import Schema
from distgnn.learn.l2p import L2P
from distgnn.learn.objective import Objective


def build_objective(config: PretrainConfig, schema: Schema) -> Objective | None:  # noqa: ARG001 - heads need the schema
    """The objective a run asks for; None for the control that trains nothing."""
    return {"l2p": lambda: L2P(config.l2p), "none": lambda: None}[config.objective]()

"""Readouts of frozen encoders: which embeddings of a checkpoint a linear probe is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.config import FinetuneConfig
from distgnn.config.base import from_json
from distgnn.config.finetune import ADAPTED
from distgnn.errors import RequestError
from distgnn.objectives.l2p.objective import L2PConfig

_NEEDED = {"adaptation": "graph", "messages": "all", "negatives": "shift"}
"""Options of L2P under which a graph's adapted weights depend on the graph alone, and are for its whole set of edges."""


def named(name: str, readout: str) -> str:
    """Return the name of a method with a readout."""
    return f"{name} {ADAPTED}" if readout == ADAPTED else name


def read_out(config: FinetuneConfig, starts: Sequence[InitialEncoder]) -> list[InitialEncoder]:
    """Return each checkpoint once for each readout of ``config``.

    Raises:
        RequestError: A checkpoint cannot be read out by adapted weights.
    """
    return [
        replace(start, name=named(start.name, readout), adapted=_inner_steps(start, config.readout_steps))
        if readout == ADAPTED
        else start
        for start in starts
        for readout in config.readout
    ]


def _inner_steps(start: InitialEncoder, steps: int) -> L2PConfig:
    """Return L2P's options for the readout of a checkpoint; ``steps`` of both levels, 0 = those of its pre-training."""
    objective = start.run.get("objective", "no pre-training")
    if objective != "l2p":
        raise RequestError(f"readout=adapted: {start.name} is of {objective}, not of l2p; leave it out")
    config = from_json(L2PConfig, start.run.get("l2p", {}), f"{start.name}: l2p")
    for name, value in _NEEDED.items():
        found = getattr(config, name)
        if found != value:
            raise RequestError(f"readout=adapted: {start.name} has l2p.{name}={found}, not {value}; leave it out")
    if steps:
        config = replace(config, node_steps=steps, graph_steps=steps)
    by_level = {"node": config.node_steps, "graph": config.graph_steps}
    if not any(by_level.values() if config.levels == "both" else (by_level[config.levels],)):
        raise RequestError(f"readout=adapted: {start.name} is without inner steps; give readout_steps, or leave it out")
    return config

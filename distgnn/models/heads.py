"""Graph features for fine-tuning, and the linear head on them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from distgnn.graph.batch import GraphBatch
from distgnn.models.encoder import Encoder

Readout = Callable[[Encoder, GraphBatch], tuple[Tensor, Tensor]]
"""Embeds G graphs with N nodes: returns node embeddings [N, width] and graph embeddings [G, width]."""


def plain_readout(encoder: Encoder, batch: GraphBatch) -> tuple[Tensor, Tensor]:
    """Embed graphs by the weights of the encoder; see :data:`Readout`."""
    nodes = encoder(batch)
    return nodes, encoder.pool(nodes, batch)


def graph_features(encoder: Encoder, batch: GraphBatch, use_center: bool, readout: Readout = plain_readout) -> Tensor:
    """Embed graphs for a head.

    Args:
        encoder: the encoder.
        batch: G graphs.
        use_center: whether to append the embedding of the centre node, if the batch has centres.
        readout: what embeds nodes and graphs.

    Returns:
        Float [G, width], or [G, 2 * width] with centre nodes.
    """
    nodes, pooled = readout(encoder, batch)
    if use_center and batch.center is not None:
        return torch.cat([pooled, nodes[batch.center]], dim=1)
    return pooled


def build_head(width: int, outputs: int, seed: int) -> nn.Linear:
    """Create a linear head [*, width] -> [*, outputs] whose initial weights depend on the arguments only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(width, outputs)

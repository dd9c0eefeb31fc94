"""Graph features for fine-tuning, and the linear head on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distgnn.graph.batch import GraphBatch
from distgnn.models.encoder import Encoder


def graph_features(encoder: Encoder, batch: GraphBatch, use_center: bool) -> Tensor:
    """Embed graphs.

    Args:
        encoder: the encoder.
        batch: G graphs.
        use_center: whether to append the embedding of the centre node, if the batch has centres.

    Returns:
        Float [G, width], or [G, 2 * width] with centre nodes.
    """
    nodes = encoder(batch)
    pooled = encoder.pool(nodes, batch)
    if use_center and batch.center is not None:
        return torch.cat([pooled, nodes[batch.center]], dim=1)
    return pooled


def build_head(width: int, outputs: int, seed: int) -> nn.Linear:
    """Create a linear head [*, width] -> [*, outputs] whose initial weights depend on the arguments only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(width, outputs)

"""What sits on an encoder in fine-tuning: features of a graph, and a linear head on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distgnn.graph.batch import GraphBatch
from distgnn.models.encoder import Encoder


def graph_features(encoder: Encoder, batch: GraphBatch, use_center: bool) -> Tensor:
    """float [G, width], or [G, 2 * width] with the centre node's embedding beside the graph's where the batch has centres."""
    nodes = encoder(batch)
    pooled = encoder.pool(nodes, batch)
    if use_center and batch.center is not None:
        return torch.cat([pooled, nodes[batch.center]], dim=1)
    return pooled


def build_head(width: int, outputs: int, seed: int) -> nn.Linear:
    """A linear head [*, width] -> [*, outputs] whose initial weights are a function of the arguments alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(width, outputs)

"""Who sends to whom, as lists."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch, message_edges


@dataclass(frozen=True)
class Messages:
    """M messages sorted by target, so that those of a node, and of a graph, lie together.

    source, target: int64 [M]. edge: int64 [M], the stored edge a message runs along, -1 where a node sends to itself.
    """

    source: Tensor
    target: Tensor
    edge: Tensor


def plain_messages(batch: GraphBatch) -> Messages:
    """Messages along edges."""
    (source, target), copies = message_edges(batch)
    return _sorted(source, target, torch.arange(batch.num_edges, device=target.device).repeat(copies))


def looped_messages(plain: Messages, nodes: int) -> Messages:
    """Those between different nodes, and one of every node to itself."""
    every, kept = torch.arange(nodes, device=plain.target.device), plain.source != plain.target
    columns = (plain.source, every), (plain.target, every), (plain.edge, torch.full_like(every, -1))
    return _sorted(*(torch.cat([column[kept], own]) for column, own in columns))


def _sorted(source: Tensor, target: Tensor, edge: Tensor) -> Messages:
    order = torch.argsort(target, stable=True)
    return Messages(source[order], target[order], edge[order])

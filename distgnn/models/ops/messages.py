"""Message lists: source, target and edge of every message, sorted by target."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch, message_edges, rows_where
from distgnn.models.ops.sparse import stable_order


@dataclass(frozen=True)
class Messages:
    """M messages sorted by target, so that those of a node, and of a graph, are contiguous.

    Attributes:
        source: int64 [M].
        target: int64 [M].
        edge: int64 [M], stored edge of each message; -1 for a node's message to itself.
    """

    source: Tensor
    target: Tensor
    edge: Tensor


def plain_messages(batch: GraphBatch) -> Messages:
    """Return the messages along edges."""
    (source, target), copies = message_edges(batch)
    return _sorted(source, target, torch.arange(batch.num_edges, device=target.device).repeat(copies), batch.num_nodes)


def looped_messages(plain: Messages, nodes: int, others: int | None = None) -> Messages:
    """Replace the self-messages of ``plain`` by exactly one per node.

    Args:
        plain: Messages along edges.
        nodes: Number of nodes.
        others: Number of messages that are no self-messages, if it is known on the host.
    """
    every, between = torch.arange(nodes, device=plain.target.device), plain.source != plain.target
    kept = rows_where(between, int(between.sum()) if others is None else others)
    columns = (plain.source, every), (plain.target, every), (plain.edge, torch.full_like(every, -1))
    source, target, edge = (torch.cat([column[kept], loops]) for column, loops in columns)
    return _sorted(source, target, edge, nodes)


def _sorted(source: Tensor, target: Tensor, edge: Tensor, nodes: int) -> Messages:
    order = stable_order(target, nodes)
    return Messages(source[order], target[order], edge[order])

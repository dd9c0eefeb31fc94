"""Message lists: source, target and edge of every message."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch, message_edges, rows_where
from distgnn.models.ops.sparse import stable_order


@dataclass(frozen=True)
class Messages:
    """M messages.

    Attributes:
        source: int64 [M].
        target: int64 [M].
        edge: int64 [M], stored edge of each message; -1 for a node's message to itself.
    """

    source: Tensor
    target: Tensor
    edge: Tensor

    def by_target(self, nodes: int) -> Messages:
        """Sort by target, so that the messages of a node, and of a graph, are contiguous; those of a node keep their order.

        Args:
            nodes: Number of nodes.
        """
        order = stable_order(self.target, nodes)
        return Messages(self.source[order], self.target[order], self.edge[order])


def edge_messages(batch: GraphBatch) -> Messages:
    """Return the messages along edges."""
    (source, target), copies = message_edges(batch)
    return Messages(source, target, torch.arange(batch.num_edges, device=target.device).repeat(copies))


def with_loops(messages: Messages, nodes: int, others: int | None = None) -> Messages:
    """Replace the self-messages by exactly one per node, after the others.

    Args:
        messages: Messages along edges.
        nodes: Number of nodes.
        others: Number of messages that are no self-messages, if it is known on the host.
    """
    every, between = torch.arange(nodes, device=messages.target.device), messages.source != messages.target
    kept = rows_where(between, int(between.sum()) if others is None else others)
    columns = (messages.source, every), (messages.target, every), (messages.edge, torch.full_like(every, -1))
    return Messages(*(torch.cat([column[kept], loops]) for column, loops in columns))

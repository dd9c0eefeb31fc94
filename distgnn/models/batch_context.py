"""Context: message lists, aggregation maps and groupings shared by all layers and forward passes of a batch."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn.graph.batch import GraphBatch, group_sizes
from distgnn.graph.schema import Schema, sizes
from distgnn.models.ops.attention import Attention
from distgnn.models.ops.messages import Messages, edge_messages, with_loops
from distgnn.models.ops.segments import Segments
from distgnn.models.ops.sparse import SparseMap

Aggregation = Literal["sum", "mean", "gcn"]
"""Aggregation of incoming messages. gcn: D^-1/2 (A + I) D^-1/2 (Kipf and Welling, ICLR 2017, Eq. 2)."""


class Context:
    """Constants of one batch, computed lazily and once.

    Args:
        batch: G graphs with N nodes and E stored edges.
        schema: features of the batch.
        dtype: floating-point dtype of the forward pass.
        hidden_edges: bool [E], edges whose attributes layers see as zeros (no category, value 0); None = no edge.
        degree: int64 [N], number of neighbours of each node, if the batch is a sampled subgraph that lacks some; None =
            count those in the batch.
    """

    def __init__(
        self,
        batch: GraphBatch,
        schema: Schema,
        dtype: torch.dtype,
        hidden_edges: Tensor | None = None,
        degree: Tensor | None = None,
    ) -> None:
        self.batch, self.schema, self.dtype, self.hidden_edges = batch, schema, dtype, hidden_edges
        self._degree = degree
        self.nodes = Segments(batch.node_ptr, batch.num_nodes, batch.on_host("node_ptr"))
        self._maps: dict[Aggregation, SparseMap] = {}
        self._sums: dict[Aggregation, Tensor] = {}

    def neighbours(self, how: Aggregation) -> SparseMap:
        """Return the map [N, N] that aggregates node rows."""
        if how not in self._maps:
            messages = self._messages(how)
            n, symmetric = self.batch.num_nodes, not self.batch.directed and how != "mean"
            weights = self._weights(how)
            self._maps[how] = SparseMap.from_pairs(messages.target, messages.source, (n, n), symmetric, weights)
        return self._maps[how]

    def edge_sums(self, how: Aggregation) -> Tensor:
        """Aggregate the edge attributes of the messages, and 1 per message along an edge, in the same way as node rows.

        Aggregating W a + b over messages equals W (sum of a) + (sum of 1) b, so edges are visited once per batch and not once
        per layer.

        Returns:
            [N, attributes + 1].
        """
        if how not in self._sums:
            messages = self._messages(how)
            count, values = messages.edge.numel(), self._weights(how)
            every = torch.arange(count, device=messages.edge.device)
            aggregate = SparseMap.from_pairs(messages.target, every, (self.batch.num_nodes, count), values=values)
            self._sums[how] = aggregate(self.attributes(messages))
        return self._sums[how]

    def attributes(self, messages: Messages) -> Tensor:
        """Return the edge attributes of messages: one-hot categories, dense values, and a 1 for messages along edges.

        Returns:
            [M, attributes + 1]; zeros for a node's message to itself.
        """
        batch, parts = self.batch, []
        for column, size in zip(batch.edge_cat.t(), sizes(self.schema.edge, "categorical"), strict=True):
            parts.append(F.one_hot(column.long(), size).to(self.dtype))
        table = torch.cat([*parts, batch.edge_dense.to(self.dtype)], dim=1)
        if self.hidden_edges is not None:
            table = table * ~self.hidden_edges.unsqueeze(1)
        table = F.pad(F.pad(table, (0, 1), value=1.0), (0, 0, 0, 1))  # the last row belongs to edge -1 (self-messages)
        return table[messages.edge]

    def _weights(self, how: Aggregation) -> Tensor | None:
        if how == "sum":
            return None
        messages = self._messages(how)
        if how == "gcn" and self._degree is not None:
            degree = self._degree.to(self.dtype) + 1
        else:
            degree = group_sizes(messages.target, self.batch.num_nodes).to(self.dtype)
        if how == "mean":
            return 1 / degree[messages.target]
        return torch.rsqrt(degree[messages.target] * degree[messages.source])

    def _messages(self, how: Aggregation) -> Messages:
        return self._with_loops if how == "gcn" else self._along_edges

    @cached_property
    def _along_edges(self) -> Messages:
        return edge_messages(self.batch)

    @cached_property
    def _with_loops(self) -> Messages:
        edges = self.batch.on_host("edges")
        others = None if edges is None else int((edges[0] != edges[1]).sum()) * (1 if self.batch.directed else 2)
        return with_loops(self._along_edges, self.batch.num_nodes, others)

    @cached_property
    def plain(self) -> Messages:
        """Messages along edges, sorted by target."""
        return self._along_edges.by_target(self.batch.num_nodes)

    @cached_property
    def looped(self) -> Messages:
        """Messages along edges between different nodes, and one from every node to itself, sorted by target."""
        return self._with_loops.by_target(self.batch.num_nodes)

    @cached_property
    def attention(self) -> Attention:
        """Attention over the ``looped`` messages."""
        return Attention(self.looped, self.nodes, self.attributes(self.looped), self._looped_before)

    def _looped_before(self) -> Tensor | None:
        """Number of ``looped`` messages to the nodes before each node, int64 [N + 1], from a copy of the edges on the host.

        None if there is no copy: the edges are on the host themselves, or on the device only.
        """
        edges = self.batch.on_host("edges")
        if edges is None or edges is self.batch.edges:
            return None
        ends = edges[:, edges[0] != edges[1]]
        targets = ends[1] if self.batch.directed else ends.flatten()
        return F.pad((group_sizes(targets, self.batch.num_nodes) + 1).cumsum(0), (1, 0))

    @cached_property
    def streams(self) -> Segments:
        """Nodes grouped by stream (one group if the batch has no streams)."""
        stream_ptr, nodes = self.batch.stream_ptr, self.batch.num_nodes
        if stream_ptr is None:
            return self.all_nodes
        node_host, stream_host = self.batch.on_host("node_ptr"), self.batch.on_host("stream_ptr")
        host = None if node_host is None or stream_host is None else node_host[stream_host]
        return Segments(self.batch.node_ptr[stream_ptr], nodes, host)

    @cached_property
    def all_nodes(self) -> Segments:
        """All nodes as one group."""
        ptr = self.batch.node_ptr
        return Segments(torch.stack([ptr[0], ptr[-1]]), self.batch.num_nodes, torch.tensor([0, self.batch.num_nodes]))

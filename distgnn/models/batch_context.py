"""What a batch's forward passes share: who sends to whom, summed edge attributes, and how nodes group into graphs and streams."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn.graph.batch import GraphBatch
from distgnn.graph.schema import Schema, sizes
from distgnn.models.ops.attention import Attention
from distgnn.models.ops.messages import Messages, looped_messages, plain_messages
from distgnn.models.ops.segments import Rows
from distgnn.models.ops.sparse import SparseMap

Aggregation = Literal["sum", "mean", "gcn"]
"""sum, mean: over incoming messages. gcn: D^-1/2 (A + I) D^-1/2 (Kipf and Welling, ICLR 2017, Eq. 2)."""


class Context:
    """Constants of one batch that every layer and pass uses; made once per step."""

    def __init__(
        self,
        batch: GraphBatch,
        schema: Schema,
        dtype: torch.dtype,
        hidden_edges: Tensor | None = None,
        degree: Tensor | None = None,
    ) -> None:
        """hidden_edges: bool [E], edges whose attributes layers see as zeros (no category, number 0); None = no edge.

        degree: int64 [N], each node's neighbours where the batch is a cut-out that lacks some; None = those in the batch.
        """
        self.batch, self.schema, self.dtype, self.hidden_edges = batch, schema, dtype, hidden_edges
        self._degree = degree
        self.nodes = Rows(batch.node_ptr)
        self._maps: dict[Aggregation, SparseMap] = {}
        self._sums: dict[Aggregation, Tensor] = {}

    def neighbours(self, how: Aggregation) -> SparseMap:
        """[N, N]: the aggregation of node rows."""
        if how not in self._maps:
            messages = self.looped if how == "gcn" else self.plain
            n, symmetric = self.batch.num_nodes, not self.batch.directed and how != "mean"
            weights = self._weights(how)
            self._maps[how] = SparseMap.from_pairs(messages.target, messages.source, (n, n), symmetric, weights)
        return self._maps[how]

    def edge_sums(self, how: Aggregation) -> Tensor:
        """[N, attributes + 1]: the same aggregation of the messages' edge attributes and a 1 for each message along an edge.

        Aggregation of W a + b over messages is W (sum of a) + (sum of 1) b, so edges are visited once per batch, not per layer.
        """
        if how not in self._sums:
            messages = self.looped if how == "gcn" else self.plain
            count, values = messages.edge.numel(), self._weights(how)
            every = torch.arange(count, device=messages.edge.device)
            into = SparseMap.from_pairs(messages.target, every, (self.batch.num_nodes, count), values=values)
            self._sums[how] = into(self.attributes(messages))
        return self._sums[how]

    def attributes(self, messages: Messages) -> Tensor:
        """[M, attributes + 1]: one-hot categories, numbers, and 1 on every message along an edge; zeros elsewhere."""
        batch, parts = self.batch, []
        for column, size in zip(batch.edge_cat.t(), sizes(self.schema.edge, "categorical"), strict=True):
            parts.append(F.one_hot(column.long(), size).to(self.dtype))
        table = torch.cat([*parts, batch.edge_dense.to(self.dtype)], dim=1)
        if self.hidden_edges is not None:
            table = table * ~self.hidden_edges.unsqueeze(1)
        table = F.pad(F.pad(table, (0, 1), value=1.0), (0, 0, 0, 1))  # the last row is that of edge -1
        return table[messages.edge]

    def _weights(self, how: Aggregation) -> Tensor | None:
        if how == "sum":
            return None
        messages = self.looped if how == "gcn" else self.plain
        if how == "gcn" and self._degree is not None:
            degree = self._degree.to(self.dtype) + 1
        else:
            degree = torch.bincount(messages.target, minlength=self.batch.num_nodes).to(self.dtype)
        if how == "mean":
            return 1 / degree[messages.target]
        return torch.rsqrt(degree[messages.target] * degree[messages.source])

    @cached_property
    def plain(self) -> Messages:
        """Messages along edges."""
        return plain_messages(self.batch)

    @cached_property
    def looped(self) -> Messages:
        """Messages along edges between different nodes, and one of every node to itself."""
        return looped_messages(self.plain, self.batch.num_nodes)

    @cached_property
    def attention(self) -> Attention:
        """Attention over looped messages."""
        return Attention(self.looped, self.nodes, self.attributes(self.looped))

    @cached_property
    def streams(self) -> Rows:
        """Nodes grouped by stream (one group where the batch does not say)."""
        stream_ptr = self.batch.stream_ptr
        return self.whole if stream_ptr is None else Rows(self.batch.node_ptr[stream_ptr])

    @cached_property
    def whole(self) -> Rows:
        """All nodes as one group."""
        return Rows(self.batch.node_ptr[[0, -1]])

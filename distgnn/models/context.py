"""What a batch's forward passes share: who sends to whom, summed edge attributes, and how nodes group into graphs and streams."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch, message_edges
from distgnn.graph.schema import Schema, sizes
from distgnn.models.rows import Rows
from distgnn.models.sparse import SparseMap


class Context:
    """Constants of one batch that every layer and pass uses; made once per step."""

    def __init__(
        self, batch: GraphBatch, schema: Schema, dtype: torch.dtype, hidden_edges: Tensor | None = None
    ) -> None:
        """hidden_edges: bool [E], edges whose attributes layers see as zeros (no category, number 0); None = no edge."""
        self.batch, self.schema, self.dtype, self.hidden_edges = batch, schema, dtype, hidden_edges
        self.nodes = Rows(batch.node_ptr)

    @cached_property
    def neighbours(self) -> SparseMap:
        """[N, N]: the sum over incoming messages."""
        index, _ = message_edges(self.batch)
        n = self.batch.num_nodes
        return SparseMap.from_pairs(index[1], index[0], (n, n), symmetric=not self.batch.directed)

    @cached_property
    def edge_sums(self) -> Tensor:
        """[N, categories + dense + 1]: for each node the sum of its incoming messages' edge attributes and their number.

        Sum aggregation of W a + b over messages is W (sum a) + degree * b, so edges are visited once per batch, not per layer.
        """
        batch, n = self.batch, self.batch.num_nodes
        index, copies = message_edges(batch)
        target, parts = index[1], []
        for column, size in zip(batch.edge_cat.t(), sizes(self.schema.edge, "categorical"), strict=True):
            flat = target * size + column.long().repeat(copies)
            parts.append(torch.bincount(flat, minlength=n * size).view(n, size).to(self.dtype))
        if batch.edge_dense.shape[1]:
            dense = batch.edge_dense.to(self.dtype).repeat(copies, 1)
            parts.append(
                torch.zeros(n, dense.shape[1], dtype=self.dtype, device=dense.device).index_add_(0, target, dense)
            )
        parts.append(torch.bincount(target, minlength=n).view(n, 1).to(self.dtype))
        return torch.cat(parts, dim=1)

    @cached_property
    def streams(self) -> Rows:
        """Nodes grouped by stream (one group where the batch does not say)."""
        stream_ptr = self.batch.stream_ptr
        return self.whole if stream_ptr is None else Rows(self.batch.node_ptr[stream_ptr])

    @cached_property
    def whole(self) -> Rows:
        """All nodes as one group."""
        return Rows(self.batch.node_ptr[[0, -1]])

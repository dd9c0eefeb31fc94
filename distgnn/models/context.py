"""What a batch's forward passes share: who sends to whom, summed edge attributes, and how rows group into graphs and streams."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch, message_edges, row_graph
from distgnn.graph.schema import Schema, sizes
from distgnn.models.sparse import Adjacency


@dataclass(frozen=True)
class Bucket:
    """Graphs of similar size, padded to the largest of them.

    index: int64 [B * L], the row of each slot (0 where padded). mask: float [B, L, 1], 0 where padded.
    """

    index: Tensor
    mask: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(B, L)."""
        return self.mask.shape[0], self.mask.shape[1]


class Rows:
    """Rows that belong to graphs, graph after graph, and their padded view in a few size buckets.

    Padding all graphs to the largest costs about three times more on molecules than padding within six size classes.
    """

    def __init__(self, ptr: Tensor, classes: int = 6) -> None:
        self.ptr, self._classes = ptr, classes

    @cached_property
    def owner(self) -> Tensor:
        """int64 [rows]: graph of each row."""
        return row_graph(self.ptr)

    @cached_property
    def buckets(self) -> list[Bucket]:
        """Size classes, geometric between the smallest and the largest graph; together they hold every row once."""
        return self._padded[0]

    @cached_property
    def inverse(self) -> Tensor:
        """int64 [rows]: where each row lies in the buckets' slots laid end to end."""
        return self._padded[1]

    @cached_property
    def _padded(self) -> tuple[list[Bucket], Tensor]:
        ptr = self.ptr.cpu()
        counts = ptr.diff()
        present = counts[counts > 0]
        inverse = torch.zeros(int(ptr[-1]), dtype=torch.int64)
        buckets, base = [], 0
        if present.numel():
            low, high = float(present.min()), float(present.max())
            limits = low * (high / low) ** (torch.arange(1, self._classes, dtype=torch.float64) / self._classes)
            kind = torch.bucketize(counts.double(), limits)
            for number in range(self._classes):
                graphs = torch.nonzero((kind == number) & (counts > 0)).flatten()
                if graphs.numel():
                    buckets.append(self._bucket(ptr, counts, graphs, inverse, base))
                    base += buckets[-1].mask.numel()
        return buckets, inverse.to(self.ptr.device)

    def _bucket(self, ptr: Tensor, counts: Tensor, graphs: Tensor, inverse: Tensor, base: int) -> Bucket:
        slots = torch.arange(int(counts[graphs].max()))
        real = slots < counts[graphs].unsqueeze(1)
        index = torch.where(real, ptr[graphs].unsqueeze(1) + slots, 0)
        inverse[index[real]] = base + torch.nonzero(real.flatten()).flatten()
        device = self.ptr.device
        return Bucket(index.flatten().to(device), real.unsqueeze(2).to(device, torch.get_default_dtype()))


def _edge_sums(batch: GraphBatch, schema: Schema, dtype: torch.dtype) -> Tensor:
    """[N, categories + dense + 1]: for each node the sum of its incoming messages' edge attributes and their number.

    Sum aggregation of W a + b over messages is W (sum a) + degree * b, so edges are visited once per batch, not per layer.
    """
    index, copies = message_edges(batch)
    target, n = index[1], batch.num_nodes
    parts = []
    for column, size in zip(batch.edge_cat.t(), sizes(schema.edge, "categorical"), strict=True):
        flat = target * size + column.long().repeat(copies)
        parts.append(torch.bincount(flat, minlength=n * size).view(n, size).to(dtype))
    if batch.edge_dense.shape[1]:
        dense = batch.edge_dense.to(dtype).repeat(copies, 1)
        parts.append(torch.zeros(n, dense.shape[1], dtype=dtype, device=dense.device).index_add_(0, target, dense))
    parts.append(torch.bincount(target, minlength=n).view(n, 1).to(dtype))
    return torch.cat(parts, dim=1)


class Context:
    """Constants of one batch that every layer and pass uses; made once per step."""

    def __init__(self, batch: GraphBatch, schema: Schema, dtype: torch.dtype) -> None:
        self.batch, self.schema, self.dtype = batch, schema, dtype
        self.nodes = Rows(batch.node_ptr)

    @cached_property
    def adjacency(self) -> Adjacency:
        """The sum over incoming messages as a linear operator on [N, d]."""
        index, _ = message_edges(self.batch)
        return Adjacency.from_edges(index, self.batch.num_nodes, self.dtype, symmetric=not self.batch.directed)

    @cached_property
    def edge_sums(self) -> Tensor:
        """See :func:`_edge_sums`."""
        return _edge_sums(self.batch, self.schema, self.dtype)

    @cached_property
    def stream_rows(self) -> Rows:
        """Nodes grouped by stream (one group where the batch does not say)."""
        batch = self.batch
        ends = batch.node_ptr[[0, -1]] if batch.stream_ptr is None else batch.node_ptr[batch.stream_ptr]
        return Rows(ends)

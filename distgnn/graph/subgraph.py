"""Edge and node subsets of every graph of a batch at once."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch


def keep_edges(batch: GraphBatch, kept: Tensor) -> GraphBatch:
    """Keep the edges where ``kept`` (bool [E]) is True; nodes, labels, streams and extras are unchanged."""
    return replace(
        batch,
        edges=batch.edges[:, kept],
        edge_cat=batch.edge_cat[kept],
        edge_dense=batch.edge_dense[kept],
        edge_ptr=_counts_before(kept)[batch.edge_ptr],
    )


def keep_nodes(batch: GraphBatch, kept: Tensor) -> GraphBatch:
    """Return the subgraphs induced by the nodes where ``kept`` (bool [N]) is True; a graph may become empty.

    Streams and labels are unchanged. Extras and centres are dropped because node ids change.
    """
    before = _counts_before(kept)
    inner = keep_edges(replace(batch, extras={}), kept[batch.edges].all(0))
    return replace(
        inner,
        edges=before[inner.edges],
        node_cat=batch.node_cat[kept],
        node_dense=batch.node_dense[kept],
        node_ptr=before[batch.node_ptr],
        center=None,
    )


def _counts_before(kept: Tensor) -> Tensor:
    """Exclusive cumulative sum: int64 [rows + 1], the number of kept rows before each row."""
    return torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.cumsum(0)])

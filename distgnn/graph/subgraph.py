"""Parts of every graph of a batch at once: some of its edges, or some of its nodes with the edges among them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch


def keep_edges(batch: GraphBatch, kept: Tensor) -> GraphBatch:
    """The graphs with only the edges where ``kept`` (bool [E]) holds; nodes, labels, streams and extras stay."""
    return replace(
        batch,
        edges=batch.edges[:, kept],
        edge_cat=batch.edge_cat[kept],
        edge_dense=batch.edge_dense[kept],
        edge_ptr=_counts_before(kept)[batch.edge_ptr],
    )


def keep_nodes(batch: GraphBatch, kept: Tensor) -> GraphBatch:
    """The subgraphs induced by the nodes where ``kept`` (bool [N]) holds; a graph may lose all of them. Streams and labels stay.

    Node ids change, so extras are dropped, and so are centres.
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
    """int64 [rows + 1]: how many rows before each are kept."""
    return torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.cumsum(0)])

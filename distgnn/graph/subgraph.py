"""Edge and node subsets of every graph of a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch, rows_where


def keep_edges(batch: GraphBatch, kept: Tensor) -> GraphBatch:
    """Keep the edges where ``kept`` (bool [E]) is True; nodes, labels, streams and extras are unchanged."""
    return _with_edges(batch, kept, _counts_before(kept), int(kept.sum()))


def keep_nodes(batch: GraphBatch, kept: Tensor) -> GraphBatch:
    """Return the subgraphs induced by the nodes where ``kept`` (bool [N]) is True; a graph may become empty.

    Streams and labels are unchanged. Extras and centres are dropped because node ids change.
    """
    ((part, _),) = induced([(batch, kept)])
    return part


def induced(parts: Sequence[tuple[GraphBatch, Tensor]]) -> list[tuple[GraphBatch, Tensor]]:
    """Subgraphs as by :func:`keep_nodes`, of several batches; the host waits for a device once for all of them.

    Args:
        parts: batches, each with the kept nodes, bool [N]. An edge with a negative end is dropped.

    Returns:
        For each batch the subgraphs, and the rows of their nodes in it, int64.
    """
    before = [_counts_before(kept) for _, kept in parts]
    inner = [kept[batch.edges].all(0) & (batch.edges[0] >= 0) for batch, kept in parts]
    edges_before = [_counts_before(kept) for kept in inner]
    ends = [nodes[batch.node_ptr] for (batch, _), nodes in zip(parts, before, strict=True)]
    pieces = [torch.cat([ptr, edges[-1:]]) for ptr, edges in zip(ends, edges_before, strict=True)]
    told = torch.cat(pieces).cpu().split([piece.numel() for piece in pieces])  # the one wait
    found = []
    for number, (batch, kept) in enumerate(parts):
        host, edges = told[number][:-1], int(told[number][-1])
        rows = rows_where(kept, int(host[-1]))
        part = _with_edges(replace(batch, extras={}, center=None), inner[number], edges_before[number], edges)
        copies = batch.copies | {"node_ptr": (ends[number], host)}
        changed = {"node_ptr": ends[number], "edges": before[number][part.edges], "copies": copies}
        rows_of = {"node_cat": batch.node_cat[rows], "node_dense": batch.node_dense[rows]}
        found.append((replace(part, **changed, **rows_of), rows))
    return found


def _with_edges(batch: GraphBatch, kept: Tensor, before: Tensor, count: int) -> GraphBatch:
    """Keep ``count`` edges; ``before`` holds the number of them before each edge."""
    rows = rows_where(kept, count)
    return replace(
        batch,
        edges=batch.edges[:, rows],
        edge_cat=batch.edge_cat[rows],
        edge_dense=batch.edge_dense[rows],
        edge_ptr=before[batch.edge_ptr],
    )


def _counts_before(kept: Tensor) -> Tensor:
    """Exclusive cumulative sum: int64 [rows + 1], the number of kept rows before each row."""
    return torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.cumsum(0)])

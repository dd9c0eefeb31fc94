"""NumPy helpers over packed arrays: pointers, row ranges, and a GraphBatch from arrays with graph-local ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distgnn.graph.batch import GraphBatch

Ints = npt.NDArray[np.int64]


def pointers(counts: npt.ArrayLike) -> Ints:
    """Return cumulative sums of ``counts`` [G] with a leading 0, int64 [G+1]."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def ranges(starts: Ints, counts: Ints) -> Ints:
    """Concatenate the ranges starts[i]:starts[i]+counts[i], int64 [counts.sum()]."""
    ptr = pointers(counts)
    return np.arange(ptr[-1]) + np.repeat(starts - ptr[:-1], counts)


def packed(
    graph_id: npt.ArrayLike,
    node_ptr: Ints,
    edge_ptr: Ints,
    edges: npt.NDArray[Any],
    *,
    node_cat: npt.NDArray[Any] | None = None,
    node_dense: npt.NDArray[Any] | None = None,
    edge_cat: npt.NDArray[Any] | None = None,
    edge_dense: npt.NDArray[Any] | None = None,
    center: npt.NDArray[Any] | None = None,
    y: npt.NDArray[Any] | None = None,
    directed: bool = False,
) -> GraphBatch:
    """Build a GraphBatch from arrays whose node ids are local to their graph.

    Args:
        graph_id: [G].
        node_ptr: int64 [G+1].
        edge_ptr: int64 [G+1].
        edges: [2, E], graph-local node ids.
        node_cat: [N, C]; None means no such features (likewise for the other three).
        node_dense: [N, D].
        edge_cat: [E, C'].
        edge_dense: [E, D'].
        center: [G], graph-local node ids.
        y: [G, T].
        directed: whether edges are directed.
    """
    nodes, stored = int(node_ptr[-1]), int(edge_ptr[-1])
    shift = np.repeat(node_ptr[:-1], np.diff(edge_ptr))

    def rows(values: npt.NDArray[Any] | None, count: int, kind: torch.dtype) -> torch.Tensor:
        empty = np.zeros((count, 0)) if values is None else np.ascontiguousarray(values)
        return torch.from_numpy(empty).to(kind)

    return GraphBatch(
        graph_id=torch.from_numpy(np.asarray(graph_id, np.int64)),
        node_ptr=torch.from_numpy(node_ptr),
        edge_ptr=torch.from_numpy(edge_ptr),
        edges=torch.from_numpy(edges.astype(np.int64) + shift),
        node_cat=rows(node_cat, nodes, torch.int32),
        node_dense=rows(node_dense, nodes, torch.float32),
        edge_cat=rows(edge_cat, stored, torch.int32),
        edge_dense=rows(edge_dense, stored, torch.float32),
        center=None if center is None else torch.from_numpy(center + node_ptr[:-1]),
        y=None if y is None else torch.from_numpy(np.asarray(y, np.float32)),
        directed=directed,
    )


def each_once(owner: Ints, src: Ints, dst: Ints) -> Ints:
    """Return the rows to keep so that each undirected edge is stored once, without self-loops.

    Args:
        owner: int64 [E], graph of each edge.
        src: int64 [E], graph-local node ids.
        dst: int64 [E], graph-local node ids.

    Returns:
        int64 row indices sorted by graph; the first of duplicate edges is kept.
    """
    span = int(max(src.max(initial=0), dst.max(initial=0))) + 1
    keys = (owner * span + np.minimum(src, dst)) * span + np.maximum(src, dst)
    first = np.unique(keys, return_index=True)[1]
    return first[src[first] != dst[first]]

"""Helpers of builders over packed arrays: pointers, row ranges, and a GraphBatch from NumPy arrays with local ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distgnn.graph.batch import GraphBatch

Ints = npt.NDArray[np.int64]


def pointers(counts: npt.ArrayLike) -> Ints:
    """int64 [G+1]: running sums of ``counts``, starting with 0."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def ranges(starts: Ints, counts: Ints) -> Ints:
    """All of ``starts[i] + 0 .. starts[i] + counts[i] - 1``, one range after the other."""
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
    """A GraphBatch of arrays whose node ids (``edges`` [2, E], ``center`` [G]) are local to their graph."""
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
    """Which rows to keep so that each undirected edge (local ids src, dst in graph ``owner``) is there once, without loops.

    Rows come out sorted by graph; of repeated edges the first is kept.
    """
    span = int(max(src.max(initial=0), dst.max(initial=0))) + 1
    keys = (owner * span + np.minimum(src, dst)) * span + np.maximum(src, dst)
    first = np.unique(keys, return_index=True)[1]
    return first[src[first] != dst[first]]

"""NumPy helpers over packed arrays: pointers, row ranges, and a GraphBatch from arrays with graph-local ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distgnn.graph.batch import GraphBatch
from distgnn.graph.checked import real, whole

Ints = npt.NDArray[np.int64]
_INT32 = (1 << 31) - 1


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

    Every array is checked before it is cast; node ids and category codes are checked against the graph and the schema by
    :func:`distgnn.corpus.shard.check_values`.

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

    Raises:
        RequestError: an array has another shape, or a value that its dtype in a GraphBatch cannot hold.
    """
    graphs, stored = len(node_ptr) - 1, int(edge_ptr[-1])
    shift = np.repeat(node_ptr[:-1], np.diff(edge_ptr))

    ids = whole(graph_id, "graph_id", shape=(graphs,))

    def graph_of(ptr: Ints) -> Callable[[int], str]:
        return lambda row: f"graph {ids[np.searchsorted(ptr, row, side='right') - 1]}"

    def codes(values: npt.NDArray[Any] | None, ptr: Ints, name: str) -> torch.Tensor:
        found = np.zeros((int(ptr[-1]), 0), np.int64) if values is None else values
        checked = whole(found, name, shape=(int(ptr[-1]), None), low=0, high=_INT32, place=graph_of(ptr))
        return torch.from_numpy(checked.astype(np.int32))

    def numbers(values: npt.NDArray[Any] | None, ptr: Ints, name: str) -> torch.Tensor:
        found = np.zeros((int(ptr[-1]), 0), np.float32) if values is None else values
        return torch.from_numpy(
            np.ascontiguousarray(real(found, name, shape=(int(ptr[-1]), None), place=graph_of(ptr)))
        )

    return GraphBatch(
        graph_id=torch.from_numpy(ids),
        node_ptr=torch.from_numpy(node_ptr),
        edge_ptr=torch.from_numpy(edge_ptr),
        edges=torch.from_numpy(whole(edges, "edges", shape=(2, stored)) + shift),
        node_cat=codes(node_cat, node_ptr, "node_cat"),
        node_dense=numbers(node_dense, node_ptr, "node_dense"),
        edge_cat=codes(edge_cat, edge_ptr, "edge_cat"),
        edge_dense=numbers(edge_dense, edge_ptr, "edge_dense"),
        center=None if center is None else torch.from_numpy(whole(center, "center", shape=(graphs,)) + node_ptr[:-1]),
        y=None if y is None else torch.from_numpy(real(y, "y", shape=(graphs, None), unknown=True)),
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

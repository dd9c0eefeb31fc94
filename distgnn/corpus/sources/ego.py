"""Vectorised ego-network sampling on CSR arrays: breadth-first search from many centres with a fan-out limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from distgnn.graph.keyed import UInt64, distinct, draw, key
from distgnn.graph.ragged import Ints, pointers, ranges


class Csr(NamedTuple):
    """Adjacency: the neighbours of node u are indices[indptr[u]:indptr[u+1]]; ``edge`` holds the edge number of each entry."""

    indptr: Ints
    indices: Ints
    edge: Ints


class Hop(NamedTuple):
    """One hop: the links to follow, and how many at most from each node."""

    links: Csr
    fan_out: int


class Egos(NamedTuple):
    """G packed ego networks.

    Attributes:
        node_ptr: int64 [G+1].
        edge_ptr: int64 [G+1].
        node: int64 [N], ids in the whole network, sorted within each ego network.
        center: int64 [G], local ids.
        src: int64 [E], local ids.
        dst: int64 [E], local ids.
        edge: int64 [E], edge numbers in the whole network.
    """

    node_ptr: Ints
    edge_ptr: Ints
    node: Ints
    center: Ints
    src: Ints
    dst: Ints
    edge: Ints


def csr(rows: Ints, columns: Ints, edge: Ints, nodes: int) -> Csr:
    """Build a Csr of links rows[i] -> columns[i] with edge numbers edge[i]; neighbours are sorted."""
    order = np.lexsort((columns, rows))
    return Csr(pointers(np.bincount(rows, minlength=nodes)), columns[order], edge[order])


def undirected(src: Ints, dst: Ints, nodes: int) -> Csr:
    """Build a Csr with both directions of each edge (src[i], dst[i])."""
    edge = np.arange(len(src))
    return csr(np.concatenate([src, dst]), np.concatenate([dst, src]), np.concatenate([edge, edge]), nodes)


def upward(src: Ints, dst: Ints, nodes: int) -> Csr:
    """Build a Csr with each edge once, from the end of lower degree to the other, which keeps every row short."""
    degree = np.bincount(np.concatenate([src, dst]), minlength=nodes)
    swap = (degree[src] > degree[dst]) | ((degree[src] == degree[dst]) & (src > dst))
    return csr(np.where(swap, dst, src), np.where(swap, src, dst), np.arange(len(src)), nodes)


def _follow(owner: Ints, node: Ints, hop: Hop, keys: UInt64) -> tuple[Ints, Ints]:
    """Return the (owner, node) pairs reached from each (owner, node) over at most fan_out links each."""
    start, degree = hop.links.indptr[node], np.diff(hop.links.indptr)[node]
    limited = degree > hop.fan_out
    complete = ranges(start[~limited], degree[~limited])
    sampled = distinct(draw(keys[limited], node[limited]), degree[limited], hop.fan_out) + start[limited, None]
    owners = np.concatenate([np.repeat(owner[~limited], degree[~limited]), np.repeat(owner[limited], hop.fan_out)])
    return owners, hop.links.indices[np.concatenate([complete, sampled.reshape(-1)])]


def ego_networks(centers: Ints, hops: Sequence[Hop], up: Csr, seed: int) -> Egos:
    """Sample the ego network of each centre: the nodes reached by ``hops``, and every edge among them.

    The links followed are a function of (seed, centre, hop, node), so parts can be built anywhere in any order.

    Args:
        centers: int64 [G], node ids.
        hops: links and fan-out of each hop.
        up: every edge of the network once (see :func:`upward`).
        seed: key of the sampling.
    """
    nodes = len(up.indptr) - 1
    frontier = seen = np.arange(len(centers)) * nodes + centers
    for number, hop in enumerate(hops):
        owner, node = frontier // nodes, frontier % nodes
        keys = draw(key(seed, number), centers)[owner]
        owner, node = _follow(owner, node, hop, keys)
        reached = np.unique(owner * nodes + node)
        frontier = reached[~np.isin(reached, seen, assume_unique=True)]
        seen = np.union1d(seen, frontier)
    owner, node = np.divmod(seen, np.int64(nodes))
    node_ptr = pointers(np.bincount(owner, minlength=len(centers)))
    center = np.searchsorted(seen, np.arange(len(centers)) * nodes + centers) - node_ptr[:-1]
    entry = ranges(up.indptr[node], np.diff(up.indptr)[node])
    tail = np.repeat(np.arange(len(seen)), np.diff(up.indptr)[node])
    neighbour = owner[tail] * nodes + up.indices[entry]
    head = np.minimum(np.searchsorted(seen, neighbour), len(seen) - 1)
    inside = seen[head] == neighbour
    tail, head, entry = tail[inside], head[inside], entry[inside]
    edge_ptr = pointers(np.bincount(owner[tail], minlength=len(centers)))
    shift = node_ptr[owner[tail]]
    return Egos(node_ptr, edge_ptr, node, center, tail - shift, head - shift, up.edge[entry])

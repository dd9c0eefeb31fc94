"""Ego networks of many centres at a time: breadth-first sampling with a fan-out cap on CSR arrays, nothing per node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from distgnn.graph.keyed import UInt64, distinct, draw, key
from distgnn.graph.ragged import Ints, pointers, ranges


class Csr(NamedTuple):
    """Adjacency: the neighbours of node u are indices[indptr[u]:indptr[u+1]]; ``edge`` numbers the edge of each entry."""

    indptr: Ints
    indices: Ints
    edge: Ints


class Hop(NamedTuple):
    """One step outwards: along which links, and how many at most from each node."""

    links: Csr
    fan_out: int


class Egos(NamedTuple):
    """Ego networks, packed. node: int64 [N] whole-network ids, sorted within each ego; center: int64 [G] local id.

    src, dst: int64 [E] local ids; edge: int64 [E] whole-network edge numbers.
    """

    node_ptr: Ints
    edge_ptr: Ints
    node: Ints
    center: Ints
    src: Ints
    dst: Ints
    edge: Ints


def csr(rows: Ints, columns: Ints, edge: Ints, nodes: int) -> Csr:
    """Links rows[i] -> columns[i] with edge number edge[i], as CSR with sorted neighbours."""
    order = np.lexsort((columns, rows))
    return Csr(pointers(np.bincount(rows, minlength=nodes)), columns[order], edge[order])


def undirected(src: Ints, dst: Ints, nodes: int) -> Csr:
    """Both directions of the edges (src[i], dst[i])."""
    edge = np.arange(len(src))
    return csr(np.concatenate([src, dst]), np.concatenate([dst, src]), np.concatenate([edge, edge]), nodes)


def upward(src: Ints, dst: Ints, nodes: int) -> Csr:
    """Each edge once, from the end of lower degree to the other: no node has many, so looking through them is cheap."""
    degree = np.bincount(np.concatenate([src, dst]), minlength=nodes)
    swap = (degree[src] > degree[dst]) | ((degree[src] == degree[dst]) & (src > dst))
    return csr(np.where(swap, dst, src), np.where(swap, src, dst), np.arange(len(src)), nodes)


def _follow(owner: Ints, node: Ints, hop: Hop, keys: UInt64) -> tuple[Ints, Ints]:
    """(owner, node) of what is reached from each (owner, node), with at most fan_out links of each followed."""
    start, degree = hop.links.indptr[node], np.diff(hop.links.indptr)[node]
    many = degree > hop.fan_out
    whole = ranges(start[~many], degree[~many])
    picked = distinct(draw(keys[many], node[many]), degree[many], hop.fan_out) + start[many, None]
    owners = np.concatenate([np.repeat(owner[~many], degree[~many]), np.repeat(owner[many], hop.fan_out)])
    return owners, hop.links.indices[np.concatenate([whole, picked.reshape(-1)])]


def ego_networks(centers: Ints, hops: Sequence[Hop], up: Csr, seed: int) -> Egos:
    """The ego network of each of ``centers``: nodes reached by ``hops``, and every edge of ``up`` among them.

    The links followed are a function of (seed, centre, hop, node), so parts can be made anywhere in any order.
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
    wanted = owner[tail] * nodes + up.indices[entry]
    head = np.minimum(np.searchsorted(seen, wanted), len(seen) - 1)
    inside = seen[head] == wanted
    tail, head, entry = tail[inside], head[inside], entry[inside]
    edge_ptr = pointers(np.bincount(owner[tail], minlength=len(centers)))
    shift = node_ptr[owner[tail]]
    return Egos(node_ptr, edge_ptr, node, center, tail - shift, head - shift, up.edge[entry])

"""Neighbour sampling on a Network: closed cut-outs of one sampled network per key, nothing per node in Python."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distgnn.corpus.sources.packing import ranges
from distgnn.errors import RequestError
from distgnn.graph.keyed import distinct, draw
from distgnn.network.network import Block, Ints, Network

Rows = npt.NDArray[np.int64]


def sample_block(network: Network, seeds: npt.ArrayLike, hops: int, fan_out: int, key: int) -> Block:
    """What ``hops`` layers need to embed ``seeds`` in the sampled network of ``key``.

    seeds: global ids in any order, repeated ones allowed. fan_out: in the sampled network a node receives this many of its
    messages, drawn without replacement whatever their relations, or all where it has no more; 0 = all messages of all
    nodes. What a node receives is a function of (key, node) alone. Nodes ``hops`` away from all seeds are in the block
    without their messages, which no layer looks at. Raises RequestError for seeds that are no nodes.
    """
    asked = np.asarray(seeds, np.int64).reshape(-1)
    _check(network, asked, hops, fan_out)
    frontier = seen = _set_of(asked)
    parts = [_Received(*(np.zeros(0, np.int64),) * 3)]
    for _ in range(hops):
        parts.append(_receive(network, frontier, fan_out, key))
        reached = _set_of(network.source[parts[-1].place])
        frontier = reached[~_among(reached, seen)]
        seen = np.sort(np.concatenate([seen, frontier]))
    node, takes, place = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(node)
    place.sort()  # messages lie sorted by (target, relation, source), so their places do too
    return Block(
        node=seen,
        seed=np.searchsorted(seen, asked),
        source=np.searchsorted(seen, network.source[place]),
        target=np.repeat(np.searchsorted(seen, node[order]), takes[order]),
        relation=_relations(network, place),
        degree=_degrees(network, seen, fan_out),
    )


def full_block(network: Network) -> Block:
    """All nodes and all messages, every node a seed: one whole pass."""
    node = np.arange(network.num_nodes)
    degree = np.diff(network.indptr)
    relation = _relations(network, slice(None))
    return Block(node, node, network.source.astype(np.int64), np.repeat(node, degree), relation, degree)


class _Received(NamedTuple):
    """Nodes, how many messages each receives, and where all those messages lie (not in the order of the nodes)."""

    node: Rows
    takes: Rows
    place: Rows


def _receive(network: Network, node: Rows, fan_out: int, key: int) -> _Received:
    """The messages that each of ``node`` (distinct, ascending) receives in the sampled network of ``key``."""
    start, degree = network.indptr[node], network.indptr[node + 1] - network.indptr[node]
    if not fan_out:
        return _Received(node, degree, ranges(start, degree))
    many = degree > fan_out
    picked = distinct(draw(key, node[many]), degree[many], fan_out) + start[many, None]
    place = np.concatenate([ranges(start[~many], degree[~many]), picked.reshape(-1)])
    return _Received(node, np.minimum(degree, fan_out), place)


def _degrees(network: Network, node: Rows, fan_out: int) -> Rows:
    degree = network.indptr[node + 1] - network.indptr[node]
    return np.minimum(degree, fan_out) if fan_out else degree


def _relations(network: Network, place: Rows | slice) -> Rows:
    """int64 relation numbers of messages; zeros where the network has a single relation and so stores none."""
    if len(network.relations) > 1:
        return network.relation[place].astype(np.int64)
    return np.zeros(len(place) if isinstance(place, np.ndarray) else network.num_messages, np.int64)


def _set_of(values: Ints) -> Rows:
    """The distinct values, ascending: sorting beats np.unique's hashing by far on the short integers of a network."""
    ascending = np.sort(values)
    return ascending[np.diff(ascending, prepend=-1) > 0].astype(np.int64)


def _among(values: Rows, ascending: Rows) -> npt.NDArray[np.bool_]:
    """Which of ``values`` are in ``ascending``, which is not empty unless ``values`` is."""
    if not len(ascending):
        return np.zeros(len(values), np.bool_)
    return ascending[np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)] == values


def _check(network: Network, seeds: Rows, hops: int, fan_out: int) -> None:
    if hops < 0 or fan_out < 0:
        raise RequestError(f"sampling needs hops and fan_out of at least 0, found {hops} and {fan_out}")
    bad = (seeds < 0) | (seeds >= network.num_nodes)
    if bad.any():
        raise RequestError(
            f"no node {int(seeds[np.argmax(bad)])} to sample around; ids are 0 to {network.num_nodes - 1}"
        )

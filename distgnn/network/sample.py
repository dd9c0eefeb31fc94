"""Neighbour sampling on a Network: closed cut-outs of one sampled network per key, nothing per node in Python."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distgnn.errors import RequestError
from distgnn.graph.keyed import distinct, draw
from distgnn.graph.ragged import ranges
from distgnn.network.network import Block, Ints, Network

Rows = npt.NDArray[np.int64]
_SPARSE = 64  # places in a row of marks for each value, up to which marking beats sorting


def sample_block(network: Network, seeds: npt.ArrayLike, hops: int, fan_out: int, key: int) -> Block:
    """What ``hops`` layers need to embed ``seeds`` in the sampled network of ``key``.

    seeds: global ids in any order, repeated ones allowed. fan_out: in the sampled network a node receives this many of its
    messages, drawn without replacement whatever their relations, or all where it has no more; 0 = all messages of all
    nodes. What a node receives is a function of (key, node) alone. Nodes ``hops`` away from all seeds are in the block
    without their messages, which no layer looks at. Raises RequestError for seeds that are no nodes.
    """
    asked = np.asarray(seeds, np.int64).reshape(-1)
    _check(network, asked, hops, fan_out)
    place = np.zeros(network.num_nodes, np.int32)  # only the pages that are touched take memory and time
    frontier = _new(place, asked)
    nodes, parts = [frontier], [_Received(*(np.zeros(0, np.int64),) * 3)]
    for _ in range(hops):
        parts.append(_receive(network, frontier, fan_out, key))
        frontier = _new(place, network.source[parts[-1].message])
        nodes.append(frontier)
    node = _sorted(np.concatenate(nodes), network.num_nodes)
    place[node] = np.arange(len(node))
    target, takes, message = (np.concatenate(column) for column in zip(*parts, strict=True))
    received = np.zeros(len(node), np.int64)
    received[place[target]] = takes
    message = _sorted(message, network.num_messages)  # messages lie sorted by (target, relation, source)
    return Block(
        node=node,
        seed=place[asked].astype(np.int64),
        source=place[network.source[message]].astype(np.int64),
        target=np.repeat(np.arange(len(node)), received),
        relation=_relations(network, message),
        degree=_degrees(network, node, fan_out),
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
    message: Rows


def _receive(network: Network, node: Rows, fan_out: int, key: int) -> _Received:
    """The messages that each of ``node`` (distinct) receives in the sampled network of ``key``."""
    start, degree = network.indptr[node], network.indptr[node + 1] - network.indptr[node]
    if not fan_out:
        return _Received(node, degree, ranges(start, degree))
    many = degree > fan_out
    picked = distinct(draw(key, node[many]), degree[many], fan_out) + start[many, None]
    message = np.concatenate([ranges(start[~many], degree[~many]), picked.reshape(-1)])
    return _Received(node, np.minimum(degree, fan_out), message)


def _new(place: npt.NDArray[np.int32], ids: Ints) -> Rows:
    """The distinct nodes among ``ids`` that ``place`` has not met (0), which it has from now on; in no order.

    Of repeated ids the last writes its number, and is the only one to find it there: no sorting, no search.
    """
    fresh = ids[place[ids] == 0].astype(np.int64)
    number = np.arange(1, len(fresh) + 1, dtype=np.int32)
    place[fresh] = number
    return fresh[place[fresh] == number]


def _sorted(values: Rows, limit: int) -> Rows:
    """Distinct values below ``limit``, ascending. Unless they are few, a mark each in a row of marks is faster than sorting."""
    if limit <= _SPARSE * len(values):
        marks = np.zeros(limit, bool)
        marks[values] = True
        return np.flatnonzero(marks)
    return np.sort(values.astype(np.int32)).astype(np.int64) if limit <= 1 << 31 else np.sort(values)


def _degrees(network: Network, node: Rows, fan_out: int) -> Rows:
    degree = network.indptr[node + 1] - network.indptr[node]
    return np.minimum(degree, fan_out) if fan_out else degree


def _relations(network: Network, message: Rows | slice) -> Rows:
    """int64 relation numbers of messages; zeros where the network has a single relation and so stores none."""
    if len(network.relations) > 1:
        return network.relation[message].astype(np.int64)
    return np.zeros(len(message) if isinstance(message, np.ndarray) else network.num_messages, np.int64)


def _check(network: Network, seeds: Rows, hops: int, fan_out: int) -> None:
    if hops < 0 or fan_out < 0:
        raise RequestError(f"sampling needs hops and fan_out of at least 0, found {hops} and {fan_out}")
    bad = (seeds < 0) | (seeds >= network.num_nodes)
    if bad.any():
        raise RequestError(
            f"no node {int(seeds[np.argmax(bad)])} to sample around; ids are 0 to {network.num_nodes - 1}"
        )

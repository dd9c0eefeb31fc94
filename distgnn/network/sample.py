"""Vectorised neighbour sampling: closed subgraphs of one sampled network per key."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distgnn.errors import RequestError
from distgnn.graph.keyed import distinct, draw
from distgnn.graph.ragged import ranges
from distgnn.network.network import Ints, Network, SampledSubgraph

Rows = npt.NDArray[np.int64]
_SPARSE = 64  # largest ratio of range to values for which a Boolean mask is faster than sorting


def sample_block(network: Network, seeds: npt.ArrayLike, hops: int, fan_out: int, key: int) -> SampledSubgraph:
    """Sample the subgraph that ``hops`` layers need to embed ``seeds``.

    Which messages a node receives is a function of (key, node) alone. Nodes ``hops`` away from all seeds are included
    without their messages, which no layer reads.

    Args:
        network: the network.
        seeds: global ids [s] in any order; duplicates are allowed.
        hops: number of layers.
        fan_out: messages per node, sampled without replacement across relations (all, if a node has no more); 0 = all.
        key: key of the sampled network.

    Raises:
        RequestError: a seed is not a node, or ``hops`` or ``fan_out`` is negative.
    """
    queried = np.asarray(seeds, np.int64).reshape(-1)
    _check(network, queried, hops, fan_out)
    place = np.zeros(network.num_nodes, np.int32)  # lazily allocated: only touched pages cost memory and time
    frontier = _mark_new(place, queried)
    nodes, parts = [frontier], [_SampledMessages(*(np.zeros(0, np.int64),) * 3)]
    for _ in range(hops):
        parts.append(_sample_messages(network, frontier, fan_out, key))
        frontier = _mark_new(place, network.source[parts[-1].message])
        nodes.append(frontier)
    node = _sorted(np.concatenate(nodes), network.num_nodes)
    place[node] = np.arange(len(node))
    target, counts, message = (np.concatenate(column) for column in zip(*parts, strict=True))
    received = np.zeros(len(node), np.int64)
    received[place[target]] = counts
    message = _sorted(message, network.num_messages)  # message order is (target, relation, source)
    return SampledSubgraph(
        node=node,
        seed=place[queried].astype(np.int64),
        source=place[network.source[message]].astype(np.int64),
        target=np.repeat(np.arange(len(node)), received),
        relation=_relations(network, message),
        degree=_degrees(network, node, fan_out),
    )


def full_block(network: Network) -> SampledSubgraph:
    """Return the block of all nodes and all messages, with every node as a seed."""
    node = np.arange(network.num_nodes)
    degree = np.diff(network.indptr)
    relation = _relations(network, slice(None))
    return SampledSubgraph(node, node, network.source.astype(np.int64), np.repeat(node, degree), relation, degree)


class _SampledMessages(NamedTuple):
    """Nodes, the number of messages each receives, and the positions of those messages (not in node order)."""

    node: Rows
    takes: Rows
    message: Rows


def _sample_messages(network: Network, node: Rows, fan_out: int, key: int) -> _SampledMessages:
    """Return the messages that each of ``node`` (distinct) receives in the sampled network of ``key``."""
    start, degree = network.indptr[node], network.indptr[node + 1] - network.indptr[node]
    if not fan_out:
        return _SampledMessages(node, degree, ranges(start, degree))
    limited = degree > fan_out
    sampled = distinct(draw(key, node[limited]), degree[limited], fan_out) + start[limited, None]
    message = np.concatenate([ranges(start[~limited], degree[~limited]), sampled.reshape(-1)])
    return _SampledMessages(node, np.minimum(degree, fan_out), message)


def _mark_new(place: npt.NDArray[np.int32], ids: Ints) -> Rows:
    """Return the distinct ids that are not yet marked (non-zero) in ``place``, unordered, and mark them.

    Of duplicate ids the last write wins, which identifies one representative without sorting.
    """
    unmarked = ids[place[ids] == 0].astype(np.int64)
    number = np.arange(1, len(unmarked) + 1, dtype=np.int32)
    place[unmarked] = number
    return unmarked[place[unmarked] == number]


def _sorted(values: Rows, limit: int) -> Rows:
    """Sort distinct values below ``limit``; a Boolean mask is faster unless the values are few."""
    if limit <= _SPARSE * len(values):
        marks = np.zeros(limit, bool)
        marks[values] = True
        return np.flatnonzero(marks)
    return np.sort(values.astype(np.int32)).astype(np.int64) if limit <= 1 << 31 else np.sort(values)


def _degrees(network: Network, node: Rows, fan_out: int) -> Rows:
    degree = network.indptr[node + 1] - network.indptr[node]
    return np.minimum(degree, fan_out) if fan_out else degree


def _relations(network: Network, message: Rows | slice) -> Rows:
    """Return relation numbers of messages, int64; zeros if the network has one relation (and stores none)."""
    if len(network.relations) > 1:
        return network.relation[message].astype(np.int64)
    return np.zeros(len(message) if isinstance(message, np.ndarray) else network.num_messages, np.int64)


def _check(network: Network, seeds: Rows, hops: int, fan_out: int) -> None:
    if hops < 0 or fan_out < 0:
        raise RequestError(f"hops and fan_out must be at least 0, found {hops} and {fan_out}")
    bad = (seeds < 0) | (seeds >= network.num_nodes)
    if bad.any():
        raise RequestError(f"seed {int(seeds[np.argmax(bad)])} is not a node; ids must be in [0, {network.num_nodes})")

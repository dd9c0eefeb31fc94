"""Small networks of several types for tests, blocks of them the slow way."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgnn.network.network import Block, Network, Relation


def from_edges(sizes: dict[str, int], relations: dict[Relation, list[tuple[int, int]]], **rest: Any) -> Network:
    """A network from (source, target) lists, ids within their types."""
    types = tuple(sizes)
    ptr = np.cumsum([0, *sizes.values()])
    first = dict(zip(types, ptr.tolist(), strict=False))
    rows = [
        (first[kind.target] + v, place, first[kind.source] + u)
        for place, (kind, edges) in enumerate(relations.items())
        for u, v in edges
    ]
    target, relation, source = np.array(sorted(rows), np.int64).reshape(-1, 3).T
    indptr = np.searchsorted(target, np.arange(ptr[-1] + 1))
    return Network(types, ptr, tuple(relations), indptr, source.astype(np.int32), relation.astype(np.uint8), **rest)


def both_ways(
    name: str, source: str, target: str, edges: list[tuple[int, int]]
) -> dict[Relation, list[tuple[int, int]]]:
    """A relation and its inverse."""
    turned = [(v, u) for u, v in edges]
    return {Relation(name, source, target): edges, Relation(f"{name}^-1", target, source): turned}


def slow_block(network: Network, seeds: Any, hops: int) -> Block:
    """All messages that ``hops`` layers need, by walking; no sampling."""
    asked = [int(node) for node in seeds]
    inside, frontier, messages = set(asked), set(asked), []
    for _ in range(hops):
        for v in sorted(frontier):
            for slot in range(int(network.indptr[v]), int(network.indptr[v + 1])):
                messages.append((v, int(network.relation[slot]), int(network.source[slot])))
        frontier = {source for _, _, source in messages} - inside
        inside |= frontier
    node = np.array(sorted(inside), np.int64)
    target, relation, source = np.array(sorted(messages), np.int64).reshape(-1, 3).T
    return Block(
        node=node,
        seed=np.searchsorted(node, np.array(asked, np.int64)),
        source=np.searchsorted(node, source),
        target=np.searchsorted(node, target),
        relation=np.array(relation),
        degree=np.diff(network.indptr)[node],
    )

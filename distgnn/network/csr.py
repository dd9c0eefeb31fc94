"""Construction of a Network from edge lists, and adding relations to an existing one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from distgnn.errors import RequestError
from distgnn.graph.ragged import pointers
from distgnn.network.network import Ints, Network, Relation

_BITS = 64
_PART = 1 << 22  # messages per chunk, so that temporary copies stay small
INVERSE = "^-1"


@dataclass(frozen=True)
class Edges:
    """Messages of one relation.

    Attributes:
        relation: name and end types.
        source: any integer dtype [M], ids local to the source type.
        target: any integer dtype [M], ids local to the target type.
    """

    relation: Relation
    source: Ints
    target: Ints


def reverse_name(name: str) -> str:
    """Return the name of a relation traversed against its direction: NAME^-1 for NAME, and back."""
    return name.removesuffix(INVERSE) if name.endswith(INVERSE) else name + INVERSE


def both_ways(edges: Edges) -> tuple[Edges, Edges]:
    """Return the edges, and their reverses as a relation NAME^-1."""
    relation = edges.relation
    inverse = Relation(relation.name + INVERSE, relation.target, relation.source)
    return edges, Edges(inverse, edges.target, edges.source)


def symmetric(relation: Relation, left: Ints, right: Ints) -> Edges:
    """Convert undirected edges among nodes of one type to one relation with both directions; self-loops are dropped."""
    keep = left != right
    left, right = left[keep], right[keep]
    return Edges(relation, np.concatenate([left, right]), np.concatenate([right, left]))


def build_network(
    sizes: Mapping[str, int],
    edges: Sequence[Edges],
    features: Mapping[str, npt.NDArray[np.float32]] | None = None,
    tables: Mapping[str, npt.NDArray[Any]] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Network:
    """Build a network. Duplicate messages are merged.

    Needs about 12 bytes per message beside the input.

    Args:
        sizes: number of nodes by type name.
        edges: messages of each relation.
        features: float32 [nodes of the type, d] by type name; types may be missing.
        tables: int64 or float32 columns by name.
        meta: JSON-serialisable notes.

    Raises:
        RequestError: an id is out of range, a type is unknown, two relations have the same name and types, or
            (target, relation, source) does not fit in 64 bits.
    """
    types, type_ptr = tuple(sizes), pointers(list(sizes.values()))
    relations = tuple(item.relation for item in edges)
    _check_relations(types, relations)
    start = dict(zip(types, type_ptr[:-1].tolist(), strict=True))
    layout = _Layout(int(type_ptr[-1]), len(relations))
    keys = np.empty(sum(len(item.source) for item in edges), np.uint64)
    done = 0
    for number, item in enumerate(edges):
        _check_ids(item, sizes)
        shift = start[item.relation.source], start[item.relation.target]
        layout.pack(keys[done : done + len(item.source)], item, number, shift)
        done += len(item.source)
    indptr, source, relation = layout.unpack(keys)
    return Network(
        types, type_ptr, relations, indptr, source, relation, dict(features or {}), dict(tables or {}), dict(meta or {})
    )


def with_messages(network: Network, *edges: Edges) -> Network:
    """Return the network with more relations, such as the ratings of a training part; all other arrays are shared.

    Raises:
        RequestError: as :func:`build_network`, and if a relation already exists.
    """
    sizes = dict(zip(network.types, np.diff(network.type_ptr).tolist(), strict=True))
    merged = build_network(sizes, [*edges_of(network), *edges])
    return replace(
        network, relations=merged.relations, indptr=merged.indptr, source=merged.source, relation=merged.relation
    )


def edges_of(network: Network, wanted: Sequence[Relation] | None = None) -> list[Edges]:
    """Return the messages of relations with local ids, sorted by (target, source).

    Args:
        network: the network.
        wanted: the relations; None means all, in their order.
    """
    start = dict(zip(network.types, network.type_ptr[:-1].tolist(), strict=True))
    target = np.repeat(np.arange(network.num_nodes, dtype=network.source.dtype), np.diff(network.indptr))
    found = []
    for relation in network.relations if wanted is None else wanted:
        number = network.relations.index(relation)
        rows = np.flatnonzero(network.relation == number) if len(network.relations) > 1 else slice(None)
        source, target_ids = network.source[rows] - start[relation.source], target[rows] - start[relation.target]
        found.append(Edges(relation, source, target_ids))
    return found


@dataclass(frozen=True)
class _Layout:
    """Messages packed as 64-bit words (target, relation, source), which sort in place without an index."""

    nodes: int
    relations: int

    @property
    def _widths(self) -> tuple[int, int]:
        """Bits of a node id and of a relation number."""
        widths = max(self.nodes - 1, 0).bit_length(), max(self.relations - 1, 0).bit_length()
        if 2 * widths[0] + widths[1] > _BITS:
            raise RequestError(
                f"{self.nodes} nodes and {self.relations} relations do not fit in 64-bit message keys; merge relations"
            )
        return widths

    def pack(self, keys: npt.NDArray[np.uint64], item: Edges, relation: int, shift: tuple[int, int]) -> None:
        """Write the words of one relation's messages into ``keys``."""
        node, kind = self._widths
        for low in range(0, len(keys), _PART):
            part = slice(low, low + _PART)
            target = item.target[part].astype(np.uint64) + np.uint64(shift[1])
            word = (target << np.uint64(kind)) | np.uint64(relation)
            keys[part] = (word << np.uint64(node)) | (item.source[part].astype(np.uint64) + np.uint64(shift[0]))

    def unpack(self, keys: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], Ints, Ints]:
        """Return (indptr, source, relation) of the sorted, deduplicated messages; sorts ``keys`` in place."""
        node, kind = self._widths
        keys.sort()
        unique = np.ones(len(keys), np.bool_)
        np.not_equal(keys[1:], keys[:-1], out=unique[1:])
        count = int(np.count_nonzero(unique))
        source = np.empty(count, np.int32 if self.nodes <= 1 << 31 else np.int64)
        relation = np.empty(count if self.relations > 1 else 0, np.uint8 if self.relations <= 1 << 8 else np.uint16)
        degree = np.zeros(self.nodes, np.int64)
        done = 0
        for low in range(0, len(keys), _PART):
            words = keys[low : low + _PART][unique[low : low + _PART]]
            part = slice(done, done + len(words))
            source[part] = words & np.uint64((1 << node) - 1)
            words >>= np.uint64(node)
            if self.relations > 1:
                relation[part] = words & np.uint64((1 << kind) - 1)
            _count_into(degree, (words >> np.uint64(kind)).astype(np.int64))
            done += len(words)
        return pointers(degree), source, relation


def _count_into(degree: npt.NDArray[np.int64], ascending: npt.NDArray[np.int64]) -> None:
    """Add the number of occurrences of each node in ``ascending``; touches only the range of nodes that it spans."""
    if len(ascending):
        first, last = int(ascending[0]), int(ascending[-1])
        degree[first : last + 1] += np.bincount(ascending - first, minlength=last + 1 - first)


def _check_relations(types: tuple[str, ...], relations: tuple[Relation, ...]) -> None:
    twice = {item for item in relations if relations.count(item) > 1}
    if twice:
        item = min(twice, key=str)
        raise RequestError(f"the relation {item.name!r} from {item.source} to {item.target} appears twice; rename one")
    for item in relations:
        for end in (item.source, item.target):
            if end not in types:
                raise RequestError(f"relation {item.name!r}: no node type {end!r}; the types are {', '.join(types)}")


def _check_ids(item: Edges, sizes: Mapping[str, int]) -> None:
    name = item.relation.name
    if len(item.source) != len(item.target):
        raise RequestError(f"relation {name!r}: {len(item.source)} sources but {len(item.target)} targets")
    for ids, end in ((item.source, item.relation.source), (item.target, item.relation.target)):
        if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= sizes[end]):
            row = int(np.argmax((ids < 0) | (ids >= sizes[end])))
            raise RequestError(
                f"relation {name!r}, row {row + 1}: {end} {int(ids[row])} does not exist; ids must be in [0, {sizes[end]})"
            )

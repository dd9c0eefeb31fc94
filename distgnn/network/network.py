"""Network: one large graph, homogeneous or with several node types and relations.

It complements GraphBatch, which holds many small graphs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Relation:
    """A kind of message, from nodes of type ``source`` to nodes of type ``target``.

    An undirected edge is two messages. The reverse one belongs to a separate relation NAME^-1 unless the relation is
    symmetric.
    """

    name: str
    source: str
    target: str


@dataclass(frozen=True)
class Network:
    """N nodes and M messages. Node ids are global: type t has nodes ``type_ptr[t]:type_ptr[t + 1]``.

    Arrays may be read-only memory maps.

    Attributes:
        types: names of the node types.
        type_ptr: int64 [types + 1].
        relations: the relations; ``relation`` indexes them.
        indptr: int64 [N+1]; node v receives messages indptr[v]:indptr[v+1], sorted by (relation, source).
        source: int32 or int64 [M], global id of the sender of each message.
        relation: uint8 or uint16 [M]; empty if there is only one relation.
        features: float32 [nodes of the type, d] by type name; types may be missing.
        tables: columns that define tasks, int64 or float32 by name, such as "rating.user", "rating.item", "rating.label"
            (ids local to their type).
        meta: provenance and notes.
    """

    types: tuple[str, ...]
    type_ptr: npt.NDArray[np.int64]
    relations: tuple[Relation, ...]
    indptr: npt.NDArray[np.int64]
    source: Ints
    relation: Ints
    features: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    tables: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def num_nodes(self) -> int:
        """Number of nodes, N."""
        return len(self.indptr) - 1

    @property
    def num_messages(self) -> int:
        """Number of messages, M."""
        return len(self.source)

    def nodes(self, kind: str) -> range:
        """Return the global ids of the nodes of a type."""
        number = self.types.index(kind)
        return range(int(self.type_ptr[number]), int(self.type_ptr[number + 1]))


@dataclass(frozen=True)
class SampledSubgraph:
    """The part of a sampled network that L layers need to embed some nodes exactly.

    Which messages a node receives is a function of (key, node) alone, so each key defines one sampled network, a block is
    a part of it, and an embedding does not depend on what else is in the block.

    Attributes:
        node: int64 [n], ascending global ids (so nodes of a type are contiguous).
        seed: int64 [s], positions of the queried nodes in ``node``, in query order.
        source: int64 [m], positions in ``node``; messages are sorted by (target, relation, source).
        target: int64 [m], positions in ``node``.
        relation: int64 [m], relation numbers.
        degree: int64 [n], messages each node receives in the whole sampled network, in this block or not.
    """

    node: npt.NDArray[np.int64]
    seed: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    relation: npt.NDArray[np.int64]
    degree: npt.NDArray[np.int64]

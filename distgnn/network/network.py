"""Network: one large graph, homogeneous or of many node types and relations. The other graph type of distgnn beside GraphBatch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Relation:
    """A kind of message: from nodes of type ``source`` to nodes of type ``target``.

    An undirected edge is two messages; the one against the data's direction has a relation of its own, NAME^-1, unless the
    relation is symmetric.
    """

    name: str
    source: str
    target: str


@dataclass(frozen=True)
class Network:
    """N nodes and M messages. Node ids are global: nodes of ``types[t]`` are ``type_ptr[t]:type_ptr[t + 1]``.

    indptr: int64 [N + 1]; node v receives messages indptr[v]:indptr[v + 1], sorted by (relation, source).
    source: int32 or int64 [M], global id of each message's sender. relation: uint8 or uint16 [M], its place in ``relations``;
    empty where there is only one.
    features: float32 [nodes of the type, d] by type name; a type without has none. tables: what tasks are made of, int64
    or float32 columns by name, such as "rating.user", "rating.item", "rating.label" (ids local to their type).
    All arrays may be memory maps: nothing here copies or writes them.
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
        """N."""
        return len(self.indptr) - 1

    @property
    def num_messages(self) -> int:
        """M."""
        return len(self.source)

    def nodes(self, kind: str) -> range:
        """Global ids of the nodes of a type."""
        place = self.types.index(kind)
        return range(int(self.type_ptr[place]), int(self.type_ptr[place + 1]))


@dataclass(frozen=True)
class Block:
    """The part of a sampled network that L layers need to embed some nodes exactly.

    Sampling says which messages a node receives: a function of (key, node) alone. So there is one sampled network for each
    key, a block is a cut-out of it, and an embedding does not depend on what else is in the block.
    node: int64 [n], global ids, ascending (so nodes of a type lie together). seed: int64 [s], places of the asked nodes in
    ``node``, in the order they were asked for. source, target: int64 [m], places in ``node``, sorted by (target, relation,
    source). relation: int64 [m]. degree: int64 [n], messages each node receives in the whole sampled network, whether or
    not they are in this block.
    """

    node: npt.NDArray[np.int64]
    seed: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    relation: npt.NDArray[np.int64]
    degree: npt.NDArray[np.int64]

"""Meta-path labels: which nodes are joined by a chain of relations, as Boolean products of typed adjacencies.

Source: SELAR (Hwang et al., NeurIPS 2020), section 3.1: the label of a pair is 1 if an instance of the meta-path joins it.
Only messages of the network handed in are read, so labels of training edges come from a network of training edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from distgnn.errors import RequestError
from distgnn.graph.keyed import UInt64, below, draw, unit_interval
from distgnn.graph.keyed import key as make_key
from distgnn.network.csr import INVERSE, edges_of
from distgnn.network.network import Network, Relation

Rows = npt.NDArray[np.int64]
Pairs = tuple[Rows, Rows]
_POSITIVE, _START, _END, _REST = range(4)
_TRIES = 16


def path_pairs(network: Network, path: str) -> PathPairs:
    """Pairs of nodes joined by ``path``: types and relations in turn, such as ``user rated item rated^-1 user``.

    NAME^-1 is the relation NAME walked against its direction, whether or not the network has messages that way. A node is
    never paired with itself. Raises RequestError for a path that is none, for relations that the network lacks or that
    have no messages, and where no pair is joined.
    """
    words = path.split()
    if len(words) < 3 or len(words) % 2 == 0:
        raise RequestError(f"path {path!r}: must be types and relations in turn, such as 'user rated item'")
    unknown = [word for word in words[::2] if word not in network.types]
    if unknown:
        raise RequestError(f"path {path!r}: no node type {unknown[0]!r}; the types are {', '.join(network.types)}")
    joined: Any = _adjacency(network, path, *words[:3])
    for place in range(2, len(words) - 1, 2):
        joined = joined @ _adjacency(network, path, *words[place : place + 3])
    if words[0] == words[-1]:
        joined = _without_diagonal(joined)
    if not joined.nnz:
        raise RequestError(f"path {path!r}: no two nodes are joined by it; leave it out")
    joined.sort_indices()
    first = [int(network.type_ptr[network.types.index(end)]) for end in (words[0], words[-1])]
    return PathPairs(path, joined, words[0] == words[-1], first[0], first[1])


@dataclass(frozen=True)
class PathPairs:
    """The joined pairs of a path. joined: Boolean CSR [nodes of the first type, nodes of the last], sorted indices.

    same: both ends are of one type. first_start, first_end: global ids of the first node of each end's type.
    Samples are functions of the key alone: pair i of a larger sample is pair i of a smaller one.
    """

    path: str
    joined: sp.csr_matrix
    same: bool
    first_start: int
    first_end: int

    def __len__(self) -> int:
        return int(self.joined.nnz)

    def positives(self, key: int, count: int) -> Pairs:
        """(start, end), global ids int64 [count], of joined pairs: each draw is uniform over all of them."""
        start, end = self._pick(draw(make_key(key, _POSITIVE), np.arange(count)))
        return start + self.first_start, end + self.first_end

    def negatives(self, key: int, count: int) -> Pairs:
        """(start, end), global ids int64 [count], of pairs that are not joined.

        The ends of two positives are paired, and pairs that are joined are drawn again, so that starts and ends occur as
        often as among positives (as SELAR's labels of Book-Crossing are made). A slot that meets only joined pairs takes any
        free pair of nodes that occur, uniformly. Raises RequestError where every start is joined with every end.
        """
        start, end = np.zeros((2, count), np.int64)
        slots = np.arange(count)
        for attempt in range(_TRIES):
            if not len(slots):
                break
            counter = slots * _TRIES + attempt
            start[slots] = self._pick(draw(make_key(key, _START), counter))[0]
            end[slots] = self._pick(draw(make_key(key, _END), counter))[1]
            slots = slots[self._taken(start[slots], end[slots])]
        if len(slots):
            start[slots], end[slots] = self._free(make_key(key, _REST), slots)
        return start + self.first_start, end + self.first_end

    def _pick(self, words: UInt64) -> Pairs:
        place = below(words, np.full(len(words), len(self)))
        return np.searchsorted(self.joined.indptr, place, side="right") - 1, self.joined.indices[place].astype(np.int64)

    def _taken(self, start: Rows, end: Rows) -> npt.NDArray[np.bool_]:
        joined = np.asarray(self.joined[start, end]).reshape(-1)
        return joined | (start == end) if self.same else joined

    @cached_property
    def _ends(self) -> Rows:
        """Last nodes of the positives, ascending."""
        return np.unique(self.joined.indices).astype(np.int64)

    @cached_property
    def _room(self) -> Rows:
        """How many of ``_ends`` each node that starts a positive is not joined with (itself not counted)."""
        degree = np.diff(self.joined.indptr).astype(np.int64)
        room = len(self._ends) - degree
        if self.same:
            room[self._ends] -= 1
        return np.where(degree > 0, room, 0)

    def _free(self, key: int, slots: Rows) -> Pairs:
        """For the few slots that rejection leaves: a uniform draw of the pairs that are not joined."""
        total = np.cumsum(self._room)
        if not total[-1]:
            raise RequestError(
                f"path {self.path!r}: joins every start with every end, so it has no negatives; leave it out"
            )
        word = unit_interval(draw(key, slots)) * total[-1]
        start = np.searchsorted(total, word, side="right")
        rank = (word - (total - self._room)[start]).astype(np.int64)
        return start, np.array([self._free_ends(int(s))[r] for s, r in zip(start, rank, strict=True)], np.int64)

    def _free_ends(self, start: int) -> Rows:
        row = self.joined.indices[self.joined.indptr[start] : self.joined.indptr[start + 1]]
        return np.setdiff1d(self._ends, np.append(row, start) if self.same else row).astype(np.int64)


def _adjacency(network: Network, path: str, source: str, name: str, target: str) -> sp.csr_matrix:
    """Boolean [nodes of ``source``, nodes of ``target``]: where a message of the relation passes, in either spelling of it."""
    inverse = name.removesuffix(INVERSE) if name.endswith(INVERSE) else name + INVERSE
    ways = (Relation(name, source, target), Relation(inverse, target, source))
    found = [way for way in ways if way in network.relations]
    if not found:
        raise RequestError(f"path {path!r}: no relation {name!r} from {source} to {target}; {_known(network, source)}")
    (edges,) = edges_of(network, found[:1])
    if not len(edges.source):
        raise RequestError(
            f"path {path!r}: the relation {name!r} from {source} to {target} is empty; leave the path out"
        )
    size = [len(network.nodes(end)) for end in (found[0].source, found[0].target)]
    matrix: Any = sp.csr_matrix((np.ones(len(edges.source), np.bool_), (edges.source, edges.target)), shape=size)
    return matrix if found[0] is ways[0] else matrix.T.tocsr()


def _known(network: Network, source: str) -> str:
    names: Sequence[str] = [relation.name for relation in network.relations if relation.source == source]
    return f"from {source} there are: {', '.join(names)}" if names else f"from {source} there is none"


def _without_diagonal(matrix: sp.csr_matrix) -> sp.csr_matrix:
    entries: Any = matrix.tocoo()
    keep = entries.row != entries.col
    return sp.csr_matrix((entries.data[keep], (entries.row[keep], entries.col[keep])), shape=matrix.shape)

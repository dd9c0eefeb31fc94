"""Meta-path labels: pairs of nodes joined by a sequence of relations, as Boolean products of typed adjacency matrices.

SELAR (Hwang et al., NeurIPS 2020), section 3.1: the label of a pair is 1 if an instance of the meta-path joins it. Only
messages of the given network are read, so labels for training must come from a network of training edges.

A walk may turn back: over an item's actor to the same item, or from an item over another user to the same item. Such walks
join a user with every item that it rated, so the labels of ``user rated item rated^-1 user rated item`` contain the training
labels of the target. Walks that do not turn back never use the edge between the two ends of the published meta-paths.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from distgnn.errors import RequestError
from distgnn.graph.keyed import UInt64, below, draw, unit_interval
from distgnn.graph.keyed import key as make_key
from distgnn.network.csr import edges_of, reverse_name
from distgnn.network.network import Network, Relation

Rows = npt.NDArray[np.int64]
Pairs = tuple[Rows, Rows]
Walks = Literal["nonbacktracking", "all"]
_POSITIVE, _START, _END, _REST = range(4)
_TRIES = 16
_MOST_WALKS = 1 << 62
_MOST_PAIRS = 1 << 28  # entries of a product, 3 GB
_HINT = {"all": "", "nonbacktracking": " by walks that do not turn back"}


def path_pairs(network: Network, path: str, walks: Walks = "all") -> MetapathPairs:
    """Return all pairs of nodes joined by a meta-path. A node is never paired with itself.

    Args:
        network: the network.
        path: alternating types and relations, such as ``user rated item rated^-1 user``. NAME^-1 is the relation NAME
            traversed against its direction, whether or not the network stores messages that way.
        walks: which walks along the path join their ends: all, or those that never traverse an edge and then the same edge
            back.

    Raises:
        RequestError: the path is malformed, the network lacks a relation, a relation has no messages, or no pair or too many pairs
            are joined.
    """
    steps = path.split()
    if len(steps) < 3 or len(steps) % 2 == 0:
        raise RequestError(f"path {path!r}: must alternate types and relations, such as 'user rated item'")
    unknown_types = [word for word in steps[::2] if word not in network.types]
    if unknown_types:
        raise RequestError(
            f"path {path!r}: no node type {unknown_types[0]!r}; the types are {', '.join(network.types)}"
        )
    places = range(0, len(steps) - 1, 2)
    adjacent = [_adjacency(network, path, *steps[place : place + 3]) for place in places]
    joined: Any = (
        reduce(partial(_product, path), adjacent) if walks == "all" else _joined_without_return(adjacent, path)
    )
    if steps[0] == steps[-1]:
        joined = _without_diagonal(joined)
    if not joined.nnz:
        raise RequestError(f"path {path!r}: it joins no two nodes{_HINT[walks]}; remove it")
    joined.sort_indices()
    first = [int(network.type_ptr[network.types.index(end)]) for end in (steps[0], steps[-1])]
    return MetapathPairs(path, joined, steps[0] == steps[-1], first[0], first[1])


@dataclass(frozen=True)
class MetapathPairs:
    """The pairs joined by a meta-path, and samples of them.

    Samples are functions of the key alone: pair i is the same for every sample size.

    Attributes:
        path: the meta-path.
        joined: Boolean CSR [nodes of the first type, nodes of the last type], sorted indices.
        same: whether both ends have the same type.
        first_start: global id of the first node of the start type.
        first_end: global id of the first node of the end type.
    """

    path: str
    joined: sp.csr_matrix
    same: bool
    first_start: int
    first_end: int

    def __len__(self) -> int:
        return int(self.joined.nnz)

    def positives(self, key: int, count: int) -> Pairs:
        """Sample joined pairs uniformly with replacement; returns (start, end), global ids int64 [count] each."""
        start, end = self._pick(draw(make_key(key, _POSITIVE), np.arange(count)))
        return start + self.first_start, end + self.first_end

    def negatives(self, key: int, count: int) -> Pairs:
        """Sample pairs that are not joined.

        The start of one positive is paired with the end of another, and joined pairs are redrawn, so that starts and ends are
        as frequent as among positives (as in SELAR's labels of Book-Crossing). A slot that draws only joined pairs takes a
        uniformly random pair of occurring nodes that are not joined.

        Returns:
            (start, end), global ids int64 [count] each.

        Raises:
            RequestError: every start is joined with every end.
        """
        start, end = np.zeros((2, count), np.int64)
        slots = np.arange(count)
        for attempt in range(_TRIES):
            if not len(slots):
                break
            counter = slots * _TRIES + attempt
            start[slots] = self._pick(draw(make_key(key, _START), counter))[0]
            end[slots] = self._pick(draw(make_key(key, _END), counter))[1]
            slots = slots[self._is_joined(start[slots], end[slots])]
        if len(slots):
            start[slots], end[slots] = self._free(make_key(key, _REST), slots)
        return start + self.first_start, end + self.first_end

    def _pick(self, words: UInt64) -> Pairs:
        place = below(words, np.full(len(words), len(self)))
        return np.searchsorted(self.joined.indptr, place, side="right") - 1, self.joined.indices[place].astype(np.int64)

    def _is_joined(self, start: Rows, end: Rows) -> npt.NDArray[np.bool_]:
        joined = np.asarray(self.joined[start, end]).reshape(-1)
        return joined | (start == end) if self.same else joined

    @cached_property
    def _ends(self) -> Rows:
        """End nodes of the positives, ascending."""
        return np.unique(self.joined.indices).astype(np.int64)

    @cached_property
    def _num_free(self) -> Rows:
        """Number of ``_ends`` with which each start node is not joined (itself excluded)."""
        degree = np.diff(self.joined.indptr).astype(np.int64)
        free = len(self._ends) - degree
        if self.same:
            free[self._ends] -= 1
        return np.where(degree > 0, free, 0)

    def _free(self, key: int, slots: Rows) -> Pairs:
        """Sample uniformly from all pairs that are not joined, for the few slots that rejection leaves."""
        total = np.cumsum(self._num_free)
        if not total[-1]:
            raise RequestError(
                f"path {self.path!r}: joins every start with every end, so it has no negatives; remove it"
            )
        word = unit_interval(draw(key, slots)) * total[-1]
        start = np.searchsorted(total, word, side="right")
        rank = (word - (total - self._num_free)[start]).astype(np.int64)
        return start, np.array([self._free_ends(int(s))[r] for s, r in zip(start, rank, strict=True)], np.int64)

    def _free_ends(self, start: int) -> Rows:
        row = self.joined.indices[self.joined.indptr[start] : self.joined.indptr[start + 1]]
        return np.setdiff1d(self._ends, np.append(row, start) if self.same else row).astype(np.int64)


def _adjacency(network: Network, path: str, source: str, name: str, target: str) -> sp.csr_matrix:
    """Return the Boolean adjacency [source nodes, target nodes] of a relation, stored in either direction."""
    candidates = (Relation(name, source, target), Relation(reverse_name(name), target, source))
    existing = [candidate for candidate in candidates if candidate in network.relations]
    if not existing:
        raise RequestError(f"path {path!r}: no relation {name!r} from {source} to {target}; {_known(network, source)}")
    (edges,) = edges_of(network, existing[:1])
    if not len(edges.source):
        raise RequestError(
            f"path {path!r}: the relation {name!r} from {source} to {target} has no messages; remove the path"
        )
    size = [len(network.nodes(end)) for end in (existing[0].source, existing[0].target)]
    matrix: Any = sp.csr_matrix((np.ones(len(edges.source), np.bool_), (edges.source, edges.target)), shape=size)
    return matrix if existing[0] is candidates[0] else matrix.T.tocsr()


def _joined_without_return(adjacent: Sequence[Any], path: str) -> sp.csr_matrix:
    """Return the Boolean matrix of the pairs joined by a walk that never takes an edge and then the same edge back.

    With W_k the numbers of such walks over the first k steps, and d the degrees in step k:
    W_{k+1} = W_k A_{k+1} - W_{k-1} (d - t), if step k + 1 reverses step k. Of the walks that return to a node x, one per edge
    of x, those are subtracted that W_k counts: t = 1 if step k reverses step k - 1, since W_k then lacks one edge of x.

    Raises:
        RequestError: there may be too many walks to be counted exactly.
    """
    counts = [matrix.astype(np.int64) for matrix in adjacent]
    reverses = [False, *(_equal(after, before.T) for before, after in pairwise(counts))]
    bound = reduce(operator.mul, (int(matrix.sum(1).max()) for matrix in counts))
    if bound > _MOST_WALKS:
        raise RequestError(f"path {path!r}: too many walks to count; shorten it or set network.paths=all")
    before, now = sp.identity(counts[0].shape[0], "int64", "csr"), counts[0]
    for place in range(1, len(counts)):
        following: Any = _product(path, now, counts[place])
        if reverses[place]:
            degree = np.asarray(counts[place - 1].sum(1)).reshape(-1) - int(reverses[place - 1])
            following = following - before @ sp.diags(degree, dtype=np.int64, format="csr")
        before, now = now, following
    joined = sp.csr_matrix(now > 0)
    joined.eliminate_zeros()
    return joined


def _product(path: str, left: Any, right: Any) -> Any:
    """Return left @ right; raises RequestError if that may need too much memory."""
    pairs = int(left.getnnz(axis=0).astype(np.int64) @ right.getnnz(axis=1).astype(np.int64))
    pairs = min(pairs, left.shape[0] * right.shape[1])
    if pairs > _MOST_PAIRS:
        raise RequestError(
            f"path {path!r}: up to {pairs:,} pairs of nodes, at most {_MOST_PAIRS:,} are held; name paths over types that"
            " fewer nodes share"
        )
    return left @ right


def _equal(one: Any, other: Any) -> bool:
    return one.shape == other.shape and not (one != other).nnz


def _known(network: Network, source: str) -> str:
    names: Sequence[str] = [relation.name for relation in network.relations if relation.source == source]
    return f"relations from {source}: {', '.join(names) or 'none'}"


def _without_diagonal(matrix: sp.csr_matrix) -> sp.csr_matrix:
    entries: Any = matrix.tocoo()
    keep = entries.row != entries.col
    return sp.csr_matrix((entries.data[keep], (entries.row[keep], entries.col[keep])), shape=matrix.shape)

"""Links gathered block by block to distinct undirected edges; memory grows with the edges, not with the rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distgnn.corpus.account import Account
from distgnn.corpus.sources.base import Rejected
from distgnn.corpus.sources.edges.blocks import NO_TEXT, Block, Links, equals, refused, true_where
from distgnn.corpus.sources.edges.lines import pc
from distgnn.errors import RequestError
from distgnn.graph.ragged import Ints

_PENDING = 1 << 22
_MOST = (1 << 31) - 1
_MOST_REJECTED = 10_000
_MOST_KINDS = 1000
_NUMBER = r"^[ ]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?[ ]*$"


@dataclass(frozen=True)
class EdgeList:
    """An undirected network.

    Attributes:
        names: object [N], identifiers in the order of their code points.
        low: int64 [E], the end of each edge that comes first; edges are sorted by (low, high).
        high: int64 [E], the other end.
        kinds: for each asked kind of interaction, whether an edge has it, bool [E, kinds].
        account: what became of the entries.
        rejected: the rows that could not be read.
    """

    names: npt.NDArray[Any]
    low: Ints
    high: Ints
    kinds: npt.NDArray[np.bool_]
    account: Account
    rejected: tuple[Rejected, ...]


def _distinct(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the sorted distinct numbers, several times faster than numpy.unique, which hashes."""
    keys = np.sort(keys)
    return keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys


def _encoded(text: pa.Array) -> tuple[pa.Array, npt.NDArray[np.integer]]:
    """Return distinct texts and the place of each text among them."""
    if not pa.types.is_dictionary(text.type):
        encoded = text.dictionary_encode()
        return encoded.dictionary, encoded.indices.to_numpy()
    used, place = np.unique(text.indices.to_numpy(), return_inverse=True)
    encoded = text.dictionary.take(pa.array(used)).dictionary_encode()  # the dictionary may have a text twice
    return encoded.dictionary, encoded.indices.to_numpy()[place]


class _Keys:
    """A set of unsigned 64-bit numbers to which arrays are added."""

    def __init__(self) -> None:
        self._known = np.zeros(0, np.uint64)
        self._new: list[npt.NDArray[np.uint64]] = []
        self._pending = 0

    def add(self, keys: npt.NDArray[np.uint64]) -> None:
        self._new.append(keys)
        self._pending += len(keys)
        if self._pending > max(_PENDING, len(self._known)):
            self.values()

    def values(self) -> npt.NDArray[np.uint64]:
        """Return the sorted distinct numbers."""
        if self._new:
            self._known = _distinct(np.concatenate([self._known, *self._new]))
            self._new, self._pending = [], 0
        return self._known


class EdgeSet:
    """Collects the blocks of one file."""

    def __init__(self, uri: str, file: str, kinds: tuple[str, ...], min_score: float) -> None:
        self._uri, self._file, self._kinds, self._min_score = uri, file, kinds, min_score
        self._names: pa.Array = NO_TEXT
        self._edges, self._of_kind = _Keys(), {kind: _Keys() for kind in kinds}
        self._seen: set[str] = set()
        self._read = self._links = self._loops = self._nodes = 0
        self._skipped: Counter[str] = Counter()
        self._rejected: list[Rejected] = []

    def add(self, block: Block) -> None:
        """Add a block; raises RequestError if too many rows cannot be read."""
        self._read += block.read
        self._rejected += block.rejected
        self._skipped.update({reason: count for reason, count in block.skipped.items() if count})
        links = self._scored(block.links)
        self._check_rejected()
        self._nodes += len(block.nodes)
        self._codes(block.nodes)
        if len(links.row):
            self._join(links)

    def _check_rejected(self) -> None:
        if len(self._rejected) > _MOST_REJECTED:
            raise RequestError(
                f"{self._uri}: more than {_MOST_REJECTED:,} rows cannot be read; the first is {self._first()};"
                " is it another format? give format or columns"
            )

    def _first(self) -> str:
        row = self._rejected[0]
        return f"row {row.row} ({row.reason}: {row.text[:80]!r})"

    def _scored(self, links: Links) -> Links:
        """Return the links whose score is high enough."""
        if links.score is None or not len(links.row) or not self._min_score:
            return links
        score = links.score
        if pa.types.is_string(score.type):
            absent = true_where(pc.is_in(score, value_set=pa.array(["", "-"])))
            self._skipped["no score"] += int(absent.sum())
            links = links.select(~absent)
            score = links.score
            wrong = ~true_where(pc.match_substring_regex(score, _NUMBER))
            self._rejected += refused(self._file, links, wrong, "the score is not a number")
            links = links.select(~wrong)
            score = pc.cast(pc.ascii_trim_whitespace(links.score), pa.float64())
        keep = true_where(pc.greater_equal(score, pa.scalar(self._min_score)))
        self._skipped[f"score below {self._min_score:g}"] += int((~keep).sum())
        return links.select(keep)

    def _codes(self, text: pa.Array) -> Ints:
        """Return the number of each identifier, in the order of their first appearance."""
        if not len(text):
            return np.zeros(0, np.int64)
        distinct, indices = _encoded(text)
        place = pc.index_in(distinct, value_set=self._names)
        new = distinct.filter(pc.is_null(place))
        if max(len(self._names) + len(new), self._names.nbytes + new.nbytes) > _MOST:
            raise RequestError(f"{self._uri}: more than {_MOST:,} nodes or bytes of identifiers; split the network")
        places = pc.fill_null(place, 0).to_numpy().astype(np.int64)
        places[true_where(pc.is_null(place))] = len(self._names) + np.arange(len(new))
        if len(new):
            self._names = pa.concat_arrays([self._names, new])
        return places[indices]

    def _join(self, links: Links) -> None:
        codes = np.stack([self._codes(links.source), self._codes(links.target)])
        low, high = codes.min(axis=0).astype(np.uint64), codes.max(axis=0).astype(np.uint64)
        keys = low << np.uint64(32) | high
        self._links += len(keys)
        self._loops += int((low == high).sum())
        apart = low != high
        self._edges.add(_distinct(keys[apart]))
        if self._kinds and links.kind is not None:
            if len(self._seen) < _MOST_KINDS:
                self._seen |= set(_encoded(links.kind)[0].slice(0, _MOST_KINDS).to_pylist())
            for kind, found in self._of_kind.items():
                found.add(_distinct(keys[apart & equals(links.kind, kind)]))

    def result(self, layout: str, strip: bool = False) -> EdgeList:
        """Return the network.

        Args:
            layout: name of the format.
            strip: remove the database from identifiers DATABASE:ID.

        Raises:
            RequestError: there is no link, most rows could not be read, or a kind does not occur.
        """
        edges = self._edges.values()
        account = self._account(layout, len(edges))
        self._check(account)
        names = _stripped(self._uri, self._names) if strip else self._names
        order = pc.sort_indices(names).to_numpy()
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        ends = rank[np.stack([edges >> np.uint64(32), edges & np.uint64(0xFFFFFFFF)]).astype(np.int64)]
        low, high = ends.min(axis=0), ends.max(axis=0)
        sort = np.argsort(low << 32 | high)
        kinds = np.zeros((len(edges), len(self._kinds)), np.bool_)
        for column, kind in enumerate(self._kinds):
            kinds[np.searchsorted(edges, self._of_kind[kind].values()), column] = True
        texts = names.take(pa.array(order)).to_numpy(zero_copy_only=False).astype(object)
        return EdgeList(texts, low[sort], high[sort], kinds[sort], account, tuple(self._rejected))

    def _account(self, layout: str, edges: int) -> Account:
        stored = {"edges": edges, "duplicates": self._links - self._loops - edges, "self-loops": self._loops}
        account = Account(
            file=self._file,
            format=layout,
            read=self._read,
            stored=stored | ({"declared nodes": self._nodes} if self._nodes else {}),
            skipped=dict(sorted((+self._skipped).items())),
            rejected=dict(sorted(Counter(row.reason for row in self._rejected).items())),
        )
        account.check()
        return account

    def _check(self, account: Account) -> None:
        if len(self._rejected) > self._links + self._skipped.total() + self._nodes:
            raise RequestError(
                f"{self._uri}: {len(self._rejected):,} of {account.read:,} rows cannot be read as {account.format}; the first"
                f" is {self._first()}; give format or columns"
            )
        if not self._links:
            raise RequestError(f"{self._uri}: no edge is left: {account.line()}")
        missing = set(self._kinds) - self._seen
        if missing:
            known = ", ".join(sorted(map(str, self._seen))[:20])
            raise RequestError(f"{self._uri}: no action type {min(missing)!r}; the table has {known or 'none'}")


def _stripped(uri: str, names: pa.Array) -> pa.Array:
    """Remove the database of identifiers DATABASE:ID; raises RequestError if two databases use the same ID."""
    bare = pc.replace_substring_regex(names, r"^[^:]+:", "")
    counted = bare.value_counts()
    twice = counted.filter(pc.greater(counted.field("counts"), 1))
    if len(twice):
        name = twice.field("values")[0].as_py()
        raise RequestError(f"{uri}: the identifier {name!r} occurs in two databases; give columns of other identifiers")
    return bare

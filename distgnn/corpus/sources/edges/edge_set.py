"""Links gathered block by block to distinct undirected edges; memory grows with the edges, not with the rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distgnn.corpus.sources.base import Rejected
from distgnn.corpus.sources.edges.blocks import NO_TEXT, Block, Links, refused, true_where
from distgnn.corpus.sources.edges.lines import pc
from distgnn.errors import RequestError, WorkError
from distgnn.graph.ragged import Ints

_PENDING = 1 << 22
_MOST_NODES = (1 << 31) - 1
_MOST_REJECTED = 10_000
_MOST_KINDS = 1000
_NUMBER = r"^[ ]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?[ ]*$"


@dataclass(frozen=True)
class EdgeCounts:
    """What became of the entries of an edge table; :meth:`check` proves that none is lost.

    Attributes:
        file: name of the file.
        format: recognised format.
        entries: links, declared nodes, and rows that are neither.
        edges: distinct undirected edges between different nodes.
        duplicates: links that repeat an edge, in either direction.
        self_loops: links from a node to itself; the node is kept.
        nodes: nodes declared without a link.
        skipped: entries left out for a reason that is no error, such as a score below min_score.
        rejected: rows that could not be read, by reason.
    """

    file: str
    format: str
    entries: int
    edges: int
    duplicates: int
    self_loops: int
    nodes: int
    skipped: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)

    def check(self) -> None:
        """Raise WorkError if the counts do not add up."""
        parts = self.edges + self.duplicates + self.self_loops + self.nodes
        parts += sum(self.skipped.values()) + sum(self.rejected.values())
        if parts != self.entries:
            raise WorkError(f"{self.file}: {self.entries} entries were read but {parts} accounted for; report this")

    def line(self) -> str:
        """Describe the counts in one line."""
        parts = [f"{self.edges:,} edges", f"{self.duplicates:,} duplicates", f"{self.self_loops:,} self loops"]
        parts += [f"{self.nodes:,} declared nodes"] if self.nodes else []
        parts += [f"{count:,} skipped ({reason})" for reason, count in self.skipped.items()]
        parts += [f"{count:,} rejected ({reason})" for reason, count in self.rejected.items()]
        return f"{self.file} ({self.format}): {self.entries:,} entries = {' + '.join(parts)}"


@dataclass(frozen=True)
class EdgeList:
    """An undirected network.

    Attributes:
        names: object [N], identifiers in the order of their code points.
        low: int64 [E], the end of each edge that comes first; edges are sorted by (low, high).
        high: int64 [E], the other end.
        kinds: for each asked kind of interaction, whether an edge has it, bool [E, kinds].
        counts: what became of the entries.
        rejected: the rows that could not be read.
    """

    names: npt.NDArray[Any]
    low: Ints
    high: Ints
    kinds: npt.NDArray[np.bool_]
    counts: EdgeCounts
    rejected: tuple[Rejected, ...]


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
            self._known = np.unique(np.concatenate([self._known, *self._new]))
            self._new, self._pending = [], 0
        return self._known


class EdgeSet:
    """Collects the blocks of one file."""

    def __init__(self, uri: str, file: str, kinds: tuple[str, ...], min_score: float) -> None:
        self._uri, self._file, self._kinds, self._min_score = uri, file, kinds, min_score
        self._names: pa.Array = NO_TEXT
        self._edges, self._of_kind = _Keys(), {kind: _Keys() for kind in kinds}
        self._seen: set[str] = set()
        self._links = self._loops = self._nodes = 0
        self._skipped: Counter[str] = Counter()
        self._rejected: list[Rejected] = []

    def add(self, block: Block) -> None:
        """Add a block; raises RequestError if too many rows cannot be read."""
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
                " is it another format? give --format or --columns"
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
        coded = text.dictionary_encode()
        place = pc.index_in(coded.dictionary, value_set=self._names)
        new = coded.dictionary.filter(pc.is_null(place))
        if len(self._names) + len(new) > _MOST_NODES:
            raise RequestError(f"{self._uri}: more than {_MOST_NODES:,} nodes")
        places = pc.fill_null(place, 0).to_numpy().astype(np.int64)
        places[true_where(pc.is_null(place))] = len(self._names) + np.arange(len(new))
        if len(new):
            self._names = pa.concat_arrays([self._names, new])
        return places[coded.indices.to_numpy()]

    def _join(self, links: Links) -> None:
        codes = self._codes(pa.concat_arrays([links.source, links.target])).reshape(2, -1)
        low, high = codes.min(axis=0).astype(np.uint64), codes.max(axis=0).astype(np.uint64)
        keys = low << np.uint64(32) | high
        self._links += len(keys)
        self._loops += int((low == high).sum())
        apart = low != high
        self._edges.add(np.unique(keys[apart]))
        if self._kinds and links.kind is not None:
            if len(self._seen) < _MOST_KINDS:
                self._seen |= set(pc.unique(links.kind).to_pylist())
            for kind, found in self._of_kind.items():
                found.add(np.unique(keys[apart & true_where(pc.equal(links.kind, kind))]))

    def result(self, layout: str, strip: bool = False) -> EdgeList:
        """Return the network.

        Args:
            layout: name of the format.
            strip: remove the database from identifiers DATABASE:ID.

        Raises:
            RequestError: there is no link, most rows could not be read, or a kind does not occur.
        """
        edges = self._edges.values()
        counts = self._counts(layout, len(edges))
        self._check(counts)
        names = _stripped(self._uri, self._names) if strip else self._names
        order = pc.sort_indices(names).to_numpy()
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        ends = rank[np.stack([edges >> np.uint64(32), edges & np.uint64(0xFFFFFFFF)]).astype(np.int64)]
        low, high = ends.min(axis=0), ends.max(axis=0)
        sort = np.lexsort((high, low))
        kinds = np.zeros((len(edges), len(self._kinds)), np.bool_)
        for column, kind in enumerate(self._kinds):
            kinds[np.searchsorted(edges, self._of_kind[kind].values()), column] = True
        texts = names.take(pa.array(order)).to_numpy(zero_copy_only=False).astype(object)
        return EdgeList(texts, low[sort], high[sort], kinds[sort], counts, tuple(self._rejected))

    def _counts(self, layout: str, edges: int) -> EdgeCounts:
        counts = EdgeCounts(
            file=self._file,
            format=layout,
            entries=self._links + self._nodes + self._skipped.total() + len(self._rejected),
            edges=edges,
            duplicates=self._links - self._loops - edges,
            self_loops=self._loops,
            nodes=self._nodes,
            skipped=dict(sorted((+self._skipped).items())),
            rejected=dict(sorted(Counter(row.reason for row in self._rejected).items())),
        )
        counts.check()
        return counts

    def _check(self, counts: EdgeCounts) -> None:
        if len(self._rejected) > self._links + self._skipped.total() + self._nodes:
            raise RequestError(
                f"{self._uri}: {len(self._rejected):,} of {counts.entries:,} rows cannot be read as {counts.format}; the first"
                f" is {self._first()}; give --format or --columns"
            )
        if not self._links:
            raise RequestError(f"{self._uri}: no edge is left: {counts.line()}")
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
        raise RequestError(f"{uri}: the identifier {name!r} occurs in two databases; give --columns of other identifiers")
    return bare

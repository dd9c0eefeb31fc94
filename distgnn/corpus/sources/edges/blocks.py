"""Blocks of links, as the readers of the formats yield them, and helpers to make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distgnn.corpus.sources.base import Rejected, rejected
from distgnn.corpus.sources.edges.lines import pc
from distgnn.graph.ragged import Ints

NO_TEXT: pa.StringArray = pa.array([], pa.string())
Mask = npt.NDArray[np.bool_]


class Links(NamedTuple):
    """L links between nodes.

    Attributes:
        source: string [L], or a dictionary of strings where an identifier of the file stands for many links.
        target: as ``source``.
        row: int64 [L], line or row numbers.
        kind: as ``source``, the type of the interaction; None if the format has none.
        score: string or number [L]; None if the format has none.
    """

    source: pa.Array
    target: pa.Array
    row: Ints
    kind: pa.Array | None = None
    score: pa.Array | None = None

    def select(self, keep: Mask) -> Links:
        """Return the links where ``keep`` is true."""
        if keep.all():
            return self
        mask = pa.array(keep)
        kind, score = (None if column is None else column.filter(mask) for column in (self.kind, self.score))
        return Links(self.source.filter(mask), self.target.filter(mask), self.row[keep], kind, score)


NO_LINKS = Links(NO_TEXT, NO_TEXT, np.zeros(0, np.int64))


class Block(NamedTuple):
    """What a part of a file contains.

    Attributes:
        links: the links.
        nodes: string, identifiers of nodes that are declared without a link.
        rejected: rows that could not be read.
        skipped: number of rows that are no links, by reason.
        read: number of entries, counted before they are parsed: links, declared nodes, and rows that are neither.
    """

    links: Links = NO_LINKS
    nodes: pa.Array = NO_TEXT
    rejected: tuple[Rejected, ...] = ()
    skipped: Mapping[str, int] = {}
    read: int = 0


def true_where(condition: Any) -> Mask:
    """Convert a boolean Arrow array to NumPy; null is false."""
    return pc.fill_null(condition, False).to_numpy(zero_copy_only=False)


def refused(name: str, links: Links, wrong: Mask, reason: str) -> tuple[Rejected, ...]:
    """Return the links where ``wrong`` is true as rejected rows."""
    picked = links.select(wrong) if wrong.any() else NO_LINKS
    pairs = zip(picked.row.tolist(), picked.source.to_pylist(), picked.target.to_pylist(), strict=True)
    return tuple(rejected(name, row, reason, f"{source or ''} {target or ''}") for row, source, target in pairs)


def coded(texts: pa.Array, place: Ints) -> pa.DictionaryArray:
    """Return ``texts[place]`` without copies of the texts, of which one can be long and stand for many links."""
    return pa.DictionaryArray.from_arrays(pa.array(place.astype(np.int32)), texts)


def equals(column: pa.Array, text: str) -> Mask:
    """Return where a column of strings, or of a dictionary of strings, is ``text``."""
    if pa.types.is_dictionary(column.type):
        return true_where(pc.equal(column.dictionary, text))[column.indices.to_numpy()]
    return true_where(pc.equal(column, text))


def one_to_many(split: pa.ListArray, number: Ints, first: int) -> Links:
    """Return the links from field 0 of each line to its fields from ``first`` on.

    Args:
        split: fields of each line.
        number: line numbers.
        first: place of the first target; if 2, field 1 is the kind.
    """
    flat, width = split.flatten(), split.value_lengths().to_numpy().astype(np.int64)
    starts, targets = np.cumsum(width) - width, np.maximum(width - first, 0)
    line = np.repeat(np.arange(len(targets)), targets)
    place = np.arange(len(line)) - np.repeat(np.cumsum(targets) - targets, targets) + starts[line] + first
    kind = coded(flat, starts[line] + 1) if first == 2 else None
    return Links(coded(flat, starts[line]), coded(flat, place), number[line], kind)

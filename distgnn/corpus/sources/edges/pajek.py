"""Reader of Pajek networks: *Vertices with labels, *Arcs, *Edges, *Arcslist and *Edgeslist."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from distgnn.corpus.sources.edges.blocks import NO_TEXT, Block, Links, coded, one_to_many, true_where
from distgnn.corpus.sources.edges.fields import words
from distgnn.corpus.sources.edges.lines import Lines, line_blocks, meaningful, pc
from distgnn.errors import RequestError

_VERTEX = r"^\s*(?P<number>[0-9]+)(?:\s+(?:\"(?P<quoted>[^\"\n]*)\"|(?P<plain>[^\s\"]+))(?:\s.*)?)?\s*$"
_PAIRS, _LISTS = ("*arcs", "*edges"), ("*arcslist", "*edgeslist")


def pajek_blocks(uri: str, encoding: str) -> Iterator[Block]:
    """Read a Pajek network. The identifier of a vertex is its label, or its number if it has none."""
    reader = _Pajek(uri)
    for lines in line_blocks(uri, encoding):
        lines = meaningful(lines, "%")
        heads = np.flatnonzero(true_where(pc.starts_with(lines.text, "*")))
        cuts = np.unique(np.concatenate([[0], heads, [len(lines.number)]]))
        for start, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            if start in heads:
                reader.begin(lines.text[start].as_py().split(), int(lines.number[start]))
                start += 1
            yield reader.read(Lines(lines.text.slice(start, end - start), lines.number[start:end]))


class _Pajek:
    """Reads the lines of the current section."""

    def __init__(self, uri: str) -> None:
        self.uri, self.section = uri, ""
        self.numbers: pa.Array = NO_TEXT
        self.labels: pa.Array = NO_TEXT

    def begin(self, head: list[str], line: int) -> None:
        """Start a section."""
        self.section = head[0].lower().rstrip(":")
        if self.section not in ("*network", "*vertices", *_PAIRS, *_LISTS):
            raise RequestError(
                f"{self.uri}, line {line}: a section {head[0][:40]!r} cannot be read; export *Arcs or *Edges"
            )

    def read(self, lines: Lines) -> Block:
        """Read lines of the current section."""
        if not len(lines.number):
            return Block()
        if self.section == "*vertices":
            return self._vertices(lines)
        if self.section in _PAIRS or self.section in _LISTS:
            return self._edges(lines)
        raise RequestError(
            f"{self.uri}, line {lines.number[0]}: {lines.text[0].as_py()[:80]!r} is in no section of Pajek"
        )

    def _vertices(self, lines: Lines) -> Block:
        found = pc.extract_regex(lines.text, _VERTEX)
        self._check(lines, true_where(found.is_valid()), "a vertex NUMBER LABEL")
        quoted, plain, number = (found.field(name) for name in ("quoted", "plain", "number"))
        label = pc.if_else(pc.not_equal(quoted, ""), quoted, pc.if_else(pc.not_equal(plain, ""), plain, number))
        self.numbers = pa.concat_arrays([self.numbers, number])
        self.labels = pa.concat_arrays([self.labels, label])
        for kind, texts in (("vertex number", self.numbers), ("label", self.labels)):
            if len(pc.unique(texts)) < len(texts):
                counted = texts.value_counts()
                name = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")[0].as_py()
                raise RequestError(f"{self.uri}: the {kind} {name!r} is given twice; make labels distinct")
        return Block(nodes=label, read=len(lines.number))

    def _edges(self, lines: Lines) -> Block:
        split = words(lines)
        self._check(lines, split.value_lengths().to_numpy() >= 2, "an edge SOURCE TARGET")
        if self.section in _LISTS:
            links = one_to_many(split, lines.number, 1)
        else:
            flat, width = split.flatten(), split.value_lengths().to_numpy().astype(np.int64)
            starts = np.cumsum(width) - width
            weight = flat.take(pa.array(np.where(width > 2, starts + 2, starts)))
            score = pc.if_else(pa.array(width > 2), weight, "1")
            links = Links(coded(flat, starts), coded(flat, starts + 1), lines.number, score=score)
        texts = links.source.dictionary
        ends = np.stack([links.source.indices.to_numpy(), links.target.indices.to_numpy()])
        good = true_where(pc.match_substring_regex(texts, "^[0-9]+$"))[ends].all(axis=0)
        if not good.all():
            line = int(links.row[np.argmin(good)])
            raise RequestError(f"{self.uri}, line {line}: the ends of an edge must be vertex numbers; fix the line")
        # Labels of vertices, then the numbers themselves, for vertices that are not listed.
        place = pc.index_in(texts, value_set=self.numbers)
        label = pc.if_else(pc.is_null(place), pa.array(len(self.labels) + np.arange(len(texts))), place).to_numpy()
        known = pa.concat_arrays([self.labels, texts])
        links = links._replace(source=coded(known, label[ends[0]]), target=coded(known, label[ends[1]]))
        entries = int((split.value_lengths().to_numpy() - 1).sum()) if self.section in _LISTS else len(lines.number)
        return Block(links, read=entries)

    def _check(self, lines: Lines, good: np.ndarray, what: str) -> None:
        if not good.all():
            row = int(np.argmin(good))
            text = lines.text[row].as_py().strip()
            raise RequestError(f"{self.uri}, line {lines.number[row]}: {text[:80]!r} is not {what}; fix the line")

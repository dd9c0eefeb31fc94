"""Readers of edge tables in graph file formats: Matrix Market, Pajek, GraphML, GEXF, and Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from xml.parsers import expat

import numpy as np
import pyarrow as pa

from distgnn.corpus.sources.base import rejected
from distgnn.corpus.sources.edges.blocks import NO_TEXT, Block, Links, refused, true_where
from distgnn.corpus.sources.edges.fields import spaced_rows
from distgnn.corpus.sources.edges.headers import column_of, is_number, known_header
from distgnn.corpus.sources.edges.layout import EdgeOptions
from distgnn.corpus.sources.edges.lines import Lines, line_blocks, meaningful, pc, read_head
from distgnn.corpus.sources.files import input_errors, open_binary
from distgnn.corpus.sources.parquet import ParquetColumns
from distgnn.errors import RequestError
from distgnn.storage.uri import base_name

_WIDTHS = {"pattern": 2, "integer": 3, "real": 3, "complex": 4}
_PART, _BATCH = 1 << 16, 1 << 18
_SCORE = 2


def matrix_market(uri: str, options: EdgeOptions) -> Iterator[Block]:
    """Read the entries of a square sparse matrix as links between nodes "1" to "n"."""
    banner = read_head(uri, options.encoding)[1][0].lower().split()
    if len(banner) != 5 or banner[1:3] != ["matrix", "coordinate"] or banner[3] not in _WIDTHS:
        raise RequestError(f"{uri}: {' '.join(banner)[:100]!r} is not a sparse matrix (coordinate) of Matrix Market")
    width, size, found = _WIDTHS[banner[3]], (0, 0), 0
    for lines in line_blocks(uri, options.encoding):
        lines = meaningful(lines, "%")
        if not size[0] and len(lines.number):
            size = _size(uri, lines)
            lines = lines.select(np.arange(len(lines.number)) > 0)
        links = _entries(uri, lines, width, size[0])
        found += len(links.row)
        yield Block(links, read=len(lines.number))
    if found != size[1]:
        raise RequestError(f"{uri}: holds {found} entries, but its size line says {size[1]}; download it again")


def _size(uri: str, lines: Lines) -> tuple[int, int]:
    """Return the number of rows and of entries from the size line."""
    text = lines.text[0].as_py().split()
    if len(text) != 3 or not all(word.isascii() and word.isdigit() and len(word) < 16 for word in text):
        raise RequestError(f"{uri}, line {lines.number[0]}: {' '.join(text)[:80]!r} is not a size ROWS COLUMNS ENTRIES")
    rows, columns, entries = map(int, text)
    if rows != columns or not rows:
        raise RequestError(
            f"{uri}: a matrix of {rows} x {columns} is not the adjacency of one kind of nodes; it must be square"
        )
    return rows, entries


def _entries(uri: str, lines: Lines, width: int, nodes: int) -> Links:
    rows = spaced_rows(lines, width, [0, 1, 2] if width == 3 else [0, 1])
    wrong = [line for line, _, _ in rows.bad]
    for column in rows.columns[:2]:
        good = true_where(pc.match_substring_regex(column, "^[1-9][0-9]{0,14}$"))
        good[good] = pc.cast(column.filter(pa.array(good)), pa.int64()).to_numpy() <= nodes
        wrong += rows.number[~good].tolist()[:1]
    if wrong:
        raise RequestError(f"{uri}, line {min(wrong)}: not an entry of {width} fields with indices from 1 to {nodes}")
    return Links(rows.columns[0], rows.columns[1], rows.number, score=rows.columns[2] if width == 3 else None)


class _Xml:
    """Streams the nodes and edges of GraphML or GEXF; a document type is refused, so no entity can be defined."""

    def __init__(self, uri: str, name: str) -> None:
        self.uri, self.name = uri, name
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.StartElementHandler = self._start
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.links: list[tuple[str, str, int, str]] = []
        self.nodes: list[str] = []
        self.bad: list[tuple[int, str, str]] = []
        self.read = 0

    def _refuse(self, *_: object) -> None:
        raise RequestError(f"{self.uri}: has a document type (<!DOCTYPE ...>), which is refused; remove it")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        tag, line = tag.rpartition(" ")[2], self.parser.CurrentLineNumber
        self.read += tag in ("edge", "node", "hyperedge")
        if tag == "edge":
            source, target = attributes.get("source", ""), attributes.get("target", "")
            if source and target:
                self.links.append((source, target, line, attributes.get("weight", "1")))
            else:
                self.bad.append((line, "an edge without source or target", str(attributes)))
        elif tag == "node":
            if attributes.get("id"):
                self.nodes.append(attributes["id"])
            else:
                self.bad.append((line, "a node without id", str(attributes)))
        elif tag == "hyperedge":
            self.bad.append((line, "a hyperedge", str(attributes)))

    def block(self, scored: bool) -> Block:
        """Return what was found since the last call."""
        columns = list(zip(*self.links, strict=True)) or [(), (), (), ()]
        score = pa.array(columns[3], pa.string()) if scored else None
        source, target = (pa.array(column, pa.string()) for column in columns[:2])
        links = Links(source, target, np.array(columns[2], np.int64), score=score)
        found = Block(links, pa.array(self.nodes, pa.string()), tuple(rejected(self.name, *item) for item in self.bad))
        found = found._replace(read=self.read)
        self.links, self.nodes, self.bad, self.read = [], [], [], 0
        return found


def xml_blocks(uri: str, format_name: str) -> Iterator[Block]:
    """Read GraphML or GEXF: nodes by id, edges by source and target. Edges of GEXF have a weight, 1 if it is not given."""
    stream = _Xml(uri, base_name(uri))
    with input_errors(uri), open_binary(uri, member=True) as file:
        try:
            while data := file.read(_PART):
                stream.parser.Parse(data, False)
                if len(stream.links) + len(stream.nodes) >= _PART:
                    yield stream.block(format_name == "gexf")
            stream.parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise RequestError(f"{uri}: not well-formed {format_name} ({error}); export it again") from error
    yield stream.block(format_name == "gexf")


def parquet_blocks(uri: str, options: EdgeOptions) -> Iterator[Block]:
    """Read columns of a Parquet file; identifiers are text or integers."""
    with input_errors(uri), open_binary(uri, member=True) as file:
        table = ParquetColumns(uri, file)
        names = table.names
        wanted = tuple(
            names[int(name)] if is_number(name) and name not in names and int(name) < len(names) else name
            for name in options.columns
        )
        header = column_of(uri, names, wanted) if wanted else known_header(uri, names, "auto")
        if header is None:
            raise RequestError(
                f"{uri}: no known columns of edges; the columns are {', '.join(names)[:300]}; give columns SOURCE TARGET"
            )
        used = [names[column] if column >= 0 else "" for column in header[1:]]
        columns = [name for name in used if name]
        _check_types(table, used)
        row = 0
        for batch in table.batches(columns, _BATCH):
            yield _parquet_block(base_name(uri), batch, used, row)
            row += batch.num_rows


def _check_types(table: ParquetColumns, columns: list[str]) -> None:
    """Check the types of the columns source, target, score and kind ("" = none)."""
    for place, name in enumerate(columns):
        kind = table.kind(name) if name else pa.string()
        numeric = pa.types.is_integer(kind) or (place == _SCORE and pa.types.is_floating(kind))
        if not (numeric or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise RequestError(f"{table.uri}: the column {name!r} is {kind}; identifiers must be text or integers")


def _parquet_block(name: str, batch: pa.RecordBatch, columns: list[str], first: int) -> Block:
    source, target, score, kind = (batch.column(column) if column else None for column in columns)
    ends = [pc.cast(column, pa.string()) for column in (source, target)]
    links = Links(
        ends[0],
        ends[1],
        np.arange(first + 1, first + 1 + batch.num_rows),
        None if kind is None else pc.cast(kind, pa.string()),
        None if score is None else _number(score),
    )
    absent = ~true_where(pc.and_(pc.not_equal(ends[0], ""), pc.not_equal(ends[1], "")))
    bad = refused(name, links, absent, "an empty identifier")
    return Block(links.select(~absent), NO_TEXT, bad, read=batch.num_rows)


def _number(score: pa.Array) -> pa.Array:
    numeric = pa.types.is_integer(score.type) or pa.types.is_floating(score.type)
    return pc.cast(score, pa.float64() if numeric else pa.string(), safe=False)

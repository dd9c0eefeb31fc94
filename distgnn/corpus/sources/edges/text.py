"""Readers of edge tables with one link or node a line: plain lists, tables with named columns, SIF, adjacency lists, N-Triples."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from distgnn.corpus.sources.base import Rejected, rejected
from distgnn.corpus.sources.edges.blocks import NO_TEXT, Block, Links, equals, one_to_many, refused, true_where
from distgnn.corpus.sources.edges.fields import Rows, delimited_rows, spaced_rows, words
from distgnn.corpus.sources.edges.layout import Layout
from distgnn.corpus.sources.edges.lines import Lines, line_blocks, meaningful, pc
from distgnn.errors import RequestError
from distgnn.storage.uri import base_name

_NOTED = ("edges", "biogrid", "mitab", "sif", "adjlist", "ntriples")
"""Formats in which every line that begins with # is a comment; in others only lines before the header are."""
_PLAIN = r"[^<>\"{}|^`\\\x00-\x20]*"  # characters of an IRI
_NODE = rf"<{_PLAIN}(?:\\u[0-9A-Fa-f]{{4}}{_PLAIN}|\\U[0-9A-Fa-f]{{8}}{_PLAIN})*>|_:[^\s<>\"]+"
_TRIPLE = (
    rf"^[ \t]*(?P<s>{_NODE})[ \t]*(?P<p><[^<>\s]*>)[ \t]*(?P<o>{_NODE}|\"(?:[^\"\\\n]|\\.)*\"(?:@[A-Za-z0-9-]+|\^\^<[^<>\s]*>)?)"
    r"[ \t]*\.[ \t]*(?:#.*)?\n?$"
)
_MITAB = r"^(?P<db>[^:|\"]+):(?P<id>\"[^\"]*\"|[^|\"]*)(?:\|.*)?$"
_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})")


def text_blocks(uri: str, layout: Layout, encoding: str) -> Iterator[Block]:
    """Read a text format line by line (see :func:`~distgnn.corpus.sources.edges.layout.recognise`)."""
    comment = "#" if layout.format in _NOTED else ""
    readers = {"edges": _edges, "sif": _sif, "adjlist": _adjacency, "ntriples": _triples, "mitab": _mitab}
    read = readers.get(layout.format, _table)
    for lines in line_blocks(uri, encoding):
        lines = meaningful(lines.select(lines.number > layout.skip), comment)
        if len(lines.number):
            yield read(uri, layout, lines)


def _rows(uri: str, layout: Layout, lines: Lines) -> Rows:
    columns = [column for column in (layout.source, layout.target, layout.score, layout.kind) if column >= 0]
    if layout.delimiter:
        return delimited_rows(uri, lines, layout.width, columns, layout.delimiter, layout.quotes)
    return spaced_rows(lines, layout.width, columns)


def _links(layout: Layout, rows: Rows) -> Links:
    columns = iter(rows.columns)
    source, target = next(columns), next(columns)
    score = next(columns) if layout.score >= 0 else None
    return Links(source, target, rows.number, next(columns) if layout.kind >= 0 else None, score)


def _edges(uri: str, layout: Layout, lines: Lines) -> Block:
    """Read lines of exactly two identifiers; any other line is an error, because nothing else tells the format."""
    rows = _rows(uri, layout, lines)
    links = _links(layout, rows)
    ends = [pc.ascii_trim(column, " \t") for column in (links.source, links.target)] if layout.delimiter else links[:2]
    links = links._replace(source=ends[0], target=ends[1])
    empty = true_where(pc.or_(pc.equal(ends[0], ""), pc.equal(ends[1], "")))
    wrong = [line for line, _, _ in rows.bad] + links.row[empty].tolist()
    if wrong:
        shown = next((text for line, _, text in rows.bad if line == min(wrong)), "")
        raise RequestError(f"{uri}, line {min(wrong)}: {shown[:120]!r} does not hold two ids; fix or remove the line")
    return Block(links, read=len(lines.number))


def _table(uri: str, layout: Layout, lines: Lines) -> Block:
    """Read rows of a table; rows with another number of fields or without an identifier are rejected."""
    name, rows = base_name(uri), _rows(uri, layout, lines)
    links = _links(layout, rows)
    if layout.spaced:
        links = _unspaced(uri, links)
    bad = tuple(
        rejected(name, line, f"{found} fields where the header or first row has {layout.width}", text)
        for line, found, text in rows.bad
    )
    skipped = {}
    if layout.format == "biogrid":
        absent = true_where(pc.or_(pc.equal(links.source, "-"), pc.equal(links.target, "-")))
        skipped, links = {"no identifier (-)": int(absent.sum())}, links.select(~absent)
    empty = true_where(pc.or_(pc.equal(links.source, ""), pc.equal(links.target, "")))
    bad, links = bad + refused(name, links, empty, "an empty identifier"), links.select(~empty)
    again = true_where(pc.and_(pc.equal(links.source, layout.head[0]), pc.equal(links.target, layout.head[1])))
    bad, links = bad + refused(name, links, again, "the header again"), links.select(~again)
    return Block(links, rejected=bad, skipped=skipped, read=len(lines.number))


def _unspaced(uri: str, links: Links) -> Links:
    """Remove the space that follows each delimiter."""
    source, target = (pc.ascii_ltrim(column, " ") for column in links[:2])
    quoted = true_where(pc.or_(pc.starts_with(source, '"'), pc.starts_with(target, '"')))
    if quoted.any():
        line = int(links.row[np.argmax(quoted)])
        raise RequestError(f"{uri}, line {line}: a space before a quoted field; remove the spaces after the delimiters")
    score = links.score if links.score is None else pc.ascii_trim_whitespace(links.score)
    return links._replace(source=source, target=target, score=score)


def _mitab(uri: str, layout: Layout, lines: Lines) -> Block:
    """Read PSI-MITAB; identifiers are DATABASE:ID, of which the reader of the whole file removes the database."""
    block, name = _table(uri, layout, lines), base_name(uri)
    links = block.links
    absent = true_where(pc.or_(pc.equal(links.source, "-"), pc.equal(links.target, "-")))
    links, skipped = links.select(~absent), {"no identifier (-)": int(absent.sum())}
    found = [pc.extract_regex(column, _MITAB) for column in links[:2]]
    wrong = ~true_where(pc.and_(found[0].is_valid(), found[1].is_valid()))
    bad = refused(name, links, wrong, "not an identifier DATABASE:ID")
    ends = [
        pc.binary_join_element_wise(
            field.field("db"), pc.replace_substring_regex(field.field("id"), '^"(.*)"$', r"\1"), ":"
        )
        for field in (item.filter(pa.array(~wrong)) for item in found)
    ]
    links = links.select(~wrong)._replace(source=ends[0], target=ends[1])
    return Block(links, rejected=block.rejected + bad, skipped=skipped, read=block.read)


def _refused_lines(name: str, lines: Lines, reason: str) -> tuple[Rejected, ...]:
    pairs = zip(lines.number.tolist(), lines.text.to_pylist(), strict=True)
    return tuple(rejected(name, line, reason, text) for line, text in pairs)


def _split(layout: Layout, lines: Lines) -> pa.ListArray:
    return pc.split_pattern(pc.ascii_rtrim(lines.text, "\t\n"), "\t") if layout.delimiter else words(lines)


def _sif(uri: str, layout: Layout, lines: Lines) -> Block:
    """Read SOURCE KIND TARGET..., or a node alone."""
    name = base_name(uri)
    if not layout.delimiter and (tabs := true_where(pc.match_substring(lines.text, "\t"))).any():
        raise RequestError(
            f"{uri}, line {int(lines.number[np.argmax(tabs)])}: the first tab; tabs must separate all lines of a SIF or none"
        )
    split = _split(layout, lines)
    width = split.value_lengths().to_numpy()
    bad = _refused_lines(name, lines.select(width == 2), "neither SOURCE KIND TARGET nor one node")
    return _ragged(name, split, lines, width >= 3, 2, bad)


def _adjacency(uri: str, layout: Layout, lines: Lines) -> Block:
    """Read SOURCE TARGET TARGET..."""
    split = _split(layout, lines)
    return _ragged(base_name(uri), split, lines, split.value_lengths().to_numpy() >= 2, 1, ())


def _ragged(
    name: str, split: pa.ListArray, lines: Lines, whole: np.ndarray, first: int, bad: tuple[Rejected, ...]
) -> Block:
    width = split.value_lengths().to_numpy()
    nodes = split.filter(pa.array(width == 1)).flatten()
    links = one_to_many(split.filter(pa.array(whole)), lines.number[whole], first)
    empty = equals(links.source, "") | equals(links.target, "")
    bad += refused(name, links, empty, "an empty identifier")
    return Block(links.select(~empty), nodes, bad, read=int(np.maximum(width - first, 1).sum()))


def _triples(uri: str, _: Layout, lines: Lines) -> Block:
    """Read triples; the predicate is the kind, and triples with a literal as object are skipped."""
    found = pc.extract_regex(lines.text, _TRIPLE)
    wrong = ~true_where(found.is_valid())
    bad = _refused_lines(base_name(uri), lines.select(wrong), "not a triple of N-Triples")
    found, number = found.filter(pa.array(~wrong)), lines.number[~wrong]
    literal = true_where(pc.starts_with(found.field("o"), '"'))
    found, number = found.filter(pa.array(~literal)), number[~literal]
    source, kind, target = (_bare(found.field(part)) for part in "spo")
    skipped = {"a literal, not a node": int(literal.sum())}
    return Block(Links(source, target, number, kind), NO_TEXT, bad, skipped, len(lines.number))


def _bare(terms: pa.Array) -> pa.Array:
    """Remove the brackets of IRIs and resolve their escapes."""
    bare = pc.replace_substring_regex(terms, "^<(.*)>$", r"\1")
    if not pc.any(pc.match_substring(bare, "\\")).as_py():
        return bare
    coded = bare.dictionary_encode()
    plain = [_ESCAPE.sub(_character, text) for text in coded.dictionary.to_pylist()]
    return pa.array(plain, pa.string()).take(coded.indices)


def _character(found: re.Match[str]) -> str:
    code = int(found[1] or found[2], 16)
    return found[0] if code > 0x10FFFF or 0xD800 <= code < 0xE000 else chr(code)

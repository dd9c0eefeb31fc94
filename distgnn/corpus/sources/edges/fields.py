"""Lines split into fields: by white space, or by one character with or without quotes."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from distgnn.corpus.sources.edges.lines import Lines, pc
from distgnn.errors import RequestError
from distgnn.graph.ragged import Ints


class Rows(NamedTuple):
    """Fields of some columns.

    Attributes:
        columns: the asked columns, string [R] each.
        number: int64 [R], line numbers.
        bad: lines with another number of fields: (line number, fields found, text).
    """

    columns: list[pa.StringArray]
    number: Ints
    bad: list[tuple[int, int, str]]


def words(lines: Lines) -> pa.ListArray:
    """Split each line at white space."""
    return pc.ascii_split_whitespace(pc.ascii_trim_whitespace(lines.text))


def spaced_rows(lines: Lines, width: int, columns: Sequence[int]) -> Rows:
    """Split lines at white space and take columns of those with ``width`` fields."""
    split = words(lines)
    found = split.value_lengths().to_numpy()
    good = found == width
    bad = _bad(lines, ~good, found)
    flat = (split if good.all() else split.filter(pa.array(good))).flatten()
    starts = np.arange(int(good.sum())) * width
    return Rows([flat.take(pa.array(starts + column)) for column in columns], lines.number[good], bad)


def _bad(lines: Lines, odd: Any, found: Any) -> list[tuple[int, int, str]]:
    picked = lines.select(odd)
    return list(zip(picked.number.tolist(), found[odd].tolist(), _plain(picked.text), strict=True)) if odd.any() else []


def _plain(text: pa.Array) -> list[str]:
    return [line.rstrip("\n") for line in text.to_pylist()]


def delimited_rows(uri: str, lines: Lines, width: int, columns: Sequence[int], delimiter: str, quotes: bool) -> Rows:
    """Split lines at a delimiter and take columns of those with ``width`` fields; empty fields beyond them are ignored.

    Raises:
        RequestError: a quoted field is not closed on its line, or text follows it.
    """
    quotes = quotes and bool(pc.any(pc.match_substring(lines.text, '"')).as_py())
    if quotes:
        _check_quotes(uri, lines, delimiter)
    rows = _parse(uri, lines, width, columns, delimiter, quotes)
    if any(found > width and text.endswith(delimiter) for _, found, text in rows.bad):
        rows = _parse(uri, _without_excess(lines, width, delimiter, quotes), width, columns, delimiter, quotes)
    return rows


def _field(delimiter: str, quotes: bool) -> str:
    """Regular expression of a field."""
    other = re.escape(delimiter) + r"\n"
    return rf'(?:"(?:[^"\n]|"")*"|[^"{other}][^{other}]*|)' if quotes else rf"[^{other}]*"


def _check_quotes(uri: str, lines: Lines, delimiter: str) -> None:
    field = _field(delimiter, quotes=True)
    good = pc.match_substring_regex(lines.text, rf"^{field}(?:{re.escape(delimiter)}{field})*\n?$")
    if not pc.all(good).as_py():
        line = int(lines.number[np.argmin(good.to_numpy(zero_copy_only=False))])
        raise RequestError(
            f"{uri}, line {line}: a quote is not closed on its line, or text follows it; fix the line,"
            " or give --no-quotes if quotes are part of the names"
        )


def _without_excess(lines: Lines, width: int, delimiter: str, quotes: bool) -> Lines:
    """Remove empty fields beyond ``width``, as a trailing tab makes them."""
    field, mark = _field(delimiter, quotes), re.escape(delimiter)
    pattern = rf"^((?:{field}{mark}){{{width - 1}}}{field}){mark}+(\n?)$"
    return Lines(pc.replace_substring_regex(lines.text, pattern, r"\1\2"), lines.number)


def _parse(uri: str, lines: Lines, width: int, columns: Sequence[int], delimiter: str, quotes: bool) -> Rows:
    bad: list[tuple[int, int, str]] = []

    def note(row: Any) -> str:
        bad.append((int(lines.number[row.number - 1]), row.actual_columns, row.text))
        return "skip"

    if not len(lines.number):
        return Rows([pa.array([], pa.string())] * len(columns), lines.number, bad)
    names = [str(column) for column in range(width)]
    text = _buffer(lines.text)
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(text),
            arrow_csv.ReadOptions(column_names=names, use_threads=False, block_size=max(len(text) + 1, 1 << 10)),
            arrow_csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quotes else False,
                ignore_empty_lines=False,
                invalid_row_handler=note,
            ),
            arrow_csv.ConvertOptions(
                include_columns=[names[column] for column in dict.fromkeys(columns)],
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise RequestError(f"{uri}: not a table of {width} columns ({' '.join(str(error).split())})") from error
    kept = np.isin(lines.number, [number for number, _, _ in bad], invert=True)
    found = [table.column(names[column]).combine_chunks() for column in columns]
    return Rows(found, lines.number[kept], bad)


def _buffer(text: pa.StringArray) -> bytes:
    """Return the lines as one text."""
    offsets = np.frombuffer(text.buffers()[1], np.int32)[text.offset : text.offset + len(text) + 1]
    return text.buffers()[2].to_pybytes()[offsets[0] : offsets[-1]]


def ascii_words(line: str) -> list[str]:
    """Split a line at ASCII white space, as :func:`words` does; other spaces may belong to identifiers."""
    return [word.decode() for word in line.encode().split()]


def split_line(line: str, delimiter: str, quotes: bool) -> list[str]:
    """Split one line, such as a header; "" as delimiter is white space."""
    if not delimiter:
        return ascii_words(line)
    if not quotes:
        return line.split(delimiter)
    return next(csv.reader([line], delimiter=delimiter), [])

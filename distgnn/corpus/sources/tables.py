"""Rows of text tables and Parquet files: separators, quotes and headers are recognised, odd rows are kept with a reason."""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from distgnn.corpus.sources.files import input_errors, open_binary, text_lines
from distgnn.corpus.sources.parquet import ParquetColumns
from distgnn.errors import RequestError

DELIMITERS = {"tab": "\t", "\\t": "\t", "space": " ", **{mark: mark for mark in ("\t", ",", ";", "|", " ")}}
_TRIED = ("\t", ";", ",")
_QUOTED_LINES = 16
_BATCH = 2048


class Row(NamedTuple):
    """One row.

    Attributes:
        line: Line at which it ends (text), or its number from 1 (Parquet).
        fields: Its fields as text; of a row with a problem, the whole row in one field.
        problem: Why it cannot be read; "" if it can.
    """

    line: int
    fields: list[str]
    problem: str = ""


@dataclass(frozen=True)
class Table:
    """A table that is read once.

    Attributes:
        header: Names of the columns; empty if the file has no header.
        delimiter: The separator; "" for Parquet.
        rows: Rows in order, without blank lines.
    """

    header: list[str]
    delimiter: str
    rows: Iterator[Row]


@dataclass(frozen=True)
class Layout:
    """What is asked of a table.

    Attributes:
        names: Columns by name that a header must have, by which the separator is recognised; empty = no header.
        delimiter: The separator; "" = recognise it.
        encoding: Encoding of the text; "" = UTF-8.
    """

    names: tuple[str, ...]
    delimiter: str = ""
    encoding: str = ""


def text_table(uri: str, layout: Layout) -> Table:
    """Open a text table; use it within :func:`input_errors`.

    Args:
        uri: The file.
        layout: Its columns and separator.

    Raises:
        RequestError: Columns are missing or have the same name, or a quote is never closed.
    """
    lines = text_lines(uri, layout.encoding)
    first = next(lines, "")
    skipped, delimiter = 0, layout.delimiter
    if first.lower().startswith("sep=") and len(first.strip()) == 5:  # Excel's own line
        delimiter, first, skipped = delimiter or first[4], next(lines, ""), 1
    delimiter = delimiter or _recognised(first, layout)
    rows = _rows(uri, chain([first], lines), delimiter, skipped)
    header: list[str] = []
    if layout.names:
        header = [name.strip() for name in next(rows, Row(0, [])).fields]
        check_header(uri, header)
    return Table(header, delimiter, _of_one_width(rows, header))


def check_header(uri: str, header: Sequence[str]) -> None:
    """Raise RequestError if two columns have the same name."""
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise RequestError(f"{uri}: {header.count(twice[0])} columns are called {twice[0]!r}; rename them")


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def _recognised(first: str, layout: Layout) -> str:
    """Return the separator with which the first line has the most of the named columns, then the most columns."""
    if not layout.names and "\t" in first:
        return "\t"
    wanted = {name.lower() for name in layout.names}

    def fit(mark: str) -> tuple[int, int]:
        cells = _cells(first, mark)
        return len(wanted & {cell.lower() for cell in cells}), len(cells)

    return max(reversed(_TRIED), key=fit)  # the first of equals is the comma


def _rows(uri: str, lines: Iterator[str], delimiter: str, skipped: int) -> Iterator[Row]:
    if delimiter == "\t":
        return _tab_rows(lines, skipped)
    return _quoted_rows(uri, lines, delimiter, skipped)


def _of_one_width(rows: Iterator[Row], header: list[str]) -> Iterator[Row]:
    """Mark the rows that have another number of fields than the header, or than the first row."""
    width = len(header)
    for row in rows:
        width = width or len(row.fields)
        yield _fitted(row, width, "the header has" if header else "the first row has")


def _fitted(row: Row, width: int, whose: str) -> Row:
    found = len(row.fields)
    if row.problem or found == width:
        return row
    if found > width and not any(field.strip() for field in row.fields[width:]):  # separators at the end of the line
        return Row(row.line, row.fields[:width])
    kind = "few" if found < width else "many"
    return Row(row.line, [" ".join(row.fields)], f"too {kind} fields: {found} where {whose} {width}")


def _quoted_rows(uri: str, lines: Iterator[str], delimiter: str, skipped: int) -> Iterator[Row]:
    """Rows of a file in which a quote at the start of a field quotes it (RFC 4180)."""
    taken: list[str] = []
    width, end = 0, skipped

    def followed() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    reader = csv.reader(followed(), delimiter=delimiter, strict=True)
    while True:
        taken.clear()
        start = end + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise RequestError(f"{uri}, line {start}: {_reason(error, len(taken))}") from error
        if fields is None:
            return
        end += len(taken)
        width = width or len(fields)
        if len(taken) > 1 and width > 1 and all(len(_cells(line, delimiter)) == width for line in taken):
            problem = f"a quote is opened and closed only in line {end}, around whole rows; close it, or double it"
            raise RequestError(f"{uri}, line {start}: {problem}")
        if fields:
            yield Row(end, fields)


def _reason(error: csv.Error, lines: int) -> str:
    if "expected after" in str(error) and lines == 1:
        return f"text behind a closing quote ({error}); double the quotes within a quoted field"
    if "end of data" in str(error) or "field limit" in str(error) or "expected after" in str(error):
        return "a quote is opened and never closed; close it, or double it"
    return f"not readable as a table ({error})"


def _plain(line: str) -> list[str]:
    return line.rstrip("\r\n").split("\t")


def _tab_rows(lines: Iterator[str], skipped: int) -> Iterator[Row]:
    """Rows of tab-separated text: quotes count where they enclose whole fields of a row of the right width."""
    ahead: deque[str] = deque()
    width, number = 0, skipped
    while (line := ahead.popleft() if ahead else next(lines, None)) is not None:
        number += 1
        fields, more = _plain(line), 0
        if '"' in line:
            fields, more = _with_quotes(line, lines, ahead, width)
        number += more
        if line.strip():
            width = width or len(fields)
            yield Row(number, fields)


def _with_quotes(line: str, lines: Iterator[str], ahead: deque[str], width: int) -> tuple[list[str], int]:
    """Return the fields of a row that starts with ``line``, and how many further lines belong to it."""
    taken = [line]
    fields = _closed(taken)
    while fields is None and width and len(taken) < _QUOTED_LINES:
        if len(ahead) < len(taken):
            following = next(lines, None)
            if following is None:
                break
            ahead.append(following)
        taken.append(ahead[len(taken) - 1])
        fields = _closed(taken)
    rows_of_their_own = len(taken) > 1 and all(len(_plain(one)) == width for one in taken)
    if fields and len(fields) == (width or len(fields)) and not rows_of_their_own:
        for _ in taken[1:]:
            ahead.popleft()
        return fields, len(taken) - 1
    return _plain(line), 0


def _closed(taken: list[str]) -> list[str] | None:
    """Return the fields of the lines as one quoted row: None if a quote is still open, [] if they are none."""
    try:
        rows = list(csv.reader(taken, delimiter="\t", strict=True))
    except csv.Error as error:
        return None if "end of data" in str(error) else []
    return rows[0] if len(rows) == 1 else []


def smi_rows(uri: str, encoding: str, names_only: bool) -> Iterator[Row]:
    """Iterate over the rows of a .smi file, "SMILES name"; quotes are plain characters.

    Args:
        uri: The file.
        encoding: Its encoding; "" = UTF-8.
        names_only: Everything behind the SMILES is its name. Otherwise the columns are separated by tabs if the first
            line has one, and by spaces if not.
    """
    mark: str | None = None
    for number, line in enumerate(text_lines(uri, encoding), 1):
        if not line.strip():
            continue
        mark = mark or ("\t" if "\t" in line else " ")
        fields = _plain(line) if mark == "\t" and not names_only else line.split(None, 1 if names_only else -1)
        extended = any(field.lstrip().startswith("|") for field in fields[1:])
        yield Row(number, [line], "text behind the SMILES (a CXSMILES extension)") if extended else Row(number, fields)


def parquet_table(uri: str, columns: Callable[[list[str]], list[str]]) -> Table:
    """Open a Parquet file; values become text, missing ones "".

    Args:
        uri: The file.
        columns: Returns the columns to read, from the names of all of them.

    Raises:
        RequestError: The file is damaged, or a column does not hold text or numbers.
    """
    with input_errors(uri):
        file = ParquetColumns(uri, open_binary(uri))
    check_header(uri, file.names)
    chosen = columns(file.names)
    for name in chosen:
        kind = file.kind(name)
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_temporal(kind):
            raise RequestError(f"{uri}: the column {name!r} holds {kind}, not text or numbers")
    return Table(chosen, "", _parquet_rows(file, chosen))


def _parquet_rows(file: ParquetColumns, columns: list[str]) -> Iterator[Row]:
    number = 0
    for batch in file.batches(columns, _BATCH):
        texts = [pc.fill_null(pc.cast(batch.column(name), pa.string()), "").to_pylist() for name in columns]
        for fields in zip(*texts, strict=True):
            number += 1
            yield Row(number, list(fields))

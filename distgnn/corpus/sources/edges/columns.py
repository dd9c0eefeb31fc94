"""Columns of strict text tables, in which every row must be complete: label tables, bibliographies, tables of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distgnn.corpus.sources.edges.blocks import NO_TEXT, true_where
from distgnn.corpus.sources.edges.fields import Rows, delimited_rows, spaced_rows, split_line
from distgnn.corpus.sources.edges.lines import Lines, line_blocks, meaningful, pc, read_head
from distgnn.errors import RequestError
from distgnn.graph.ragged import Ints

Texts = npt.NDArray[Any]


def tab_columns(uri: str, widths: Sequence[int], what: str, names: Sequence[str] = ()) -> list[Texts]:
    """Read columns of a tab-separated table: those of the header with ``names``, or without names the first two.

    Args:
        uri: the file.
        widths: allowed numbers of columns, or () for any; trailing tabs do not count.
        what: description of the table, for messages.
        names: columns of the header; () if the file has none.

    Returns:
        Object arrays of text, one per column.

    Raises:
        RequestError: the table is of another shape, or a row is not complete; the message names the line.
    """
    lines = [line for line in read_head(uri)[1] if line.strip()]
    header = split_line(lines[0].rstrip("\t") if lines else "", "\t", quotes=bool(names))
    wrong = [name for name in names if header.count(name) != 1]
    if wrong or (widths and len(header) not in widths):
        seen = repr(lines[0][:120]) if lines else "empty"
        raise RequestError(f"{uri}: {what}; its first line is {seen}")
    columns = [header.index(name) for name in names] if names else [0, 1]
    parts: list[list[pa.Array]] = [[NO_TEXT] for _ in columns]
    skip = 1 if names else 0
    for block in line_blocks(uri):
        block = meaningful(block)
        block, skip = block.select(np.arange(len(block.number)) >= skip), max(skip - len(block.number), 0)
        rows = delimited_rows(uri, block, len(header), columns, "\t", quotes=bool(names))
        _check_complete(uri, rows, len(header))
        for part, column in zip(parts, rows.columns, strict=True):
            part.append(column)
    return [pa.concat_arrays(part).to_numpy(zero_copy_only=False).astype(object) for part in parts]


def _check_complete(uri: str, rows: Rows, width: int) -> None:
    empty = np.zeros(len(rows.number), np.bool_)
    for column in rows.columns:
        empty |= true_where(pc.equal(column, ""))
    wrong = {line: f"{found} fields where line 1 has {width}" for line, found, _ in rows.bad}
    wrong |= {int(line): "an empty field" for line in rows.number[empty][:1]}
    if wrong:
        raise RequestError(f"{uri}, line {min(wrong)}: {wrong[min(wrong)]}; fix or remove the line")


def integer_columns(uri: str, names: Sequence[str]) -> list[Ints]:
    """Read a table of non-negative or negative integers separated by white space, one column per name.

    Raises:
        RequestError: a row does not hold one integer per name; the message names the row.
    """
    parts: list[list[Ints]] = [[] for _ in names]
    for lines in line_blocks(uri):
        lines = meaningful(lines)
        rows = spaced_rows(lines, len(names), range(len(names)))
        good = np.ones(len(rows.number), np.bool_)
        for column in rows.columns:
            good &= true_where(pc.match_substring_regex(column, r"^-?[0-9]{1,18}(?:\.0*)?$"))
        wrong = [line for line, _, _ in rows.bad] + rows.number[~good][:1].tolist()
        if wrong:
            raise _not_integers(uri, names, lines, min(wrong))
        for part, column in zip(parts, rows.columns, strict=True):
            whole = pc.replace_substring_regex(column, r"\.0*$", "")
            part.append(pc.cast(whole, pa.int64()).to_numpy())
    return [np.concatenate([np.zeros(0, np.int64), *part]) for part in parts]


def _not_integers(uri: str, names: Sequence[str], lines: Lines, number: int) -> RequestError:
    text = lines.text[int(np.searchsorted(lines.number, number))].as_py().split()
    where, shown = f"{uri}, row {number}", " ".join(text)[:120]
    fraction = next((word for word in text if word.replace(".", "", 1).lstrip("-").isdigit() and "." in word), "")
    if len(text) == len(names) and fraction:
        return RequestError(f"{where}: {fraction} is not an integer; fix the row")
    return RequestError(f"{where}: {shown!r} is not {len(names)} numbers ({', '.join(names)}); fix the row")

"""Rows of a file of molecules: the columns that a config asks for, from text tables, .smi, Parquet and SD files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from distgnn.config import InputBuildConfig
from distgnn.config.base import check
from distgnn.config.fields import setting
from distgnn.corpus.sources.files import check_encoding, input_errors, plain_name
from distgnn.corpus.sources.sdf import Record, sdf_records
from distgnn.corpus.sources.tables import DELIMITERS, Layout, Row, Table, parquet_table, smi_rows, text_table
from distgnn.errors import RequestError

ROWS = 2048
_COUNTED = 20
"""Fewest rows of a column that is taken for a number of the row."""
_MISSING = {"", "nan", "na", "n/a", "null", "none"}
_WORDS = {**dict.fromkeys(_MISSING, "nan"), "true": "1", "false": "0"}


@dataclass(frozen=True, kw_only=True)
class MoleculesConfig(InputBuildConfig):
    """Molecules from tables of SMILES (csv, tsv, smi, parquet) and SD files (sdf); needs RDKit (the extra 'chem').

    Example: distgnn corpus build molecules --input bbbp.csv --labels p_np --out data/bbbp
    """

    smiles: str = setting("smiles")
    """Column with the SMILES: its name in the header (smiles: in any case), or its number from 0 for files without a header
    (.smi: always 0)."""
    labels: tuple[str, ...] = setting(())
    """Columns with labels (names, or numbers in files without a header; data items in .sdf); an empty field is an unknown
    label. all = every other column that holds only numbers in the first 2048 rows."""
    split: str = setting("")
    """Column with the split: train, val (or valid), test, or 0, 1, 2; empty = the input has none."""
    delimiter: str = setting("")
    """Separator of text tables: "," ";" "|" tab or space; empty = recognised by the header."""
    encoding: str = setting("")
    """Encoding of text, such as latin-1; empty = UTF-8. Byte order marks (UTF-8, UTF-16) are recognised."""
    decimal: Literal[".", ","] = setting(".")
    """Decimal mark of labels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            not self.delimiter or self.delimiter in DELIMITERS,
            f"delimiter must be , ; | tab or space: {self.delimiter!r}",
        )
        if self.encoding:
            check_encoding(self.encoding)


class MoleculeRows:
    """Reader of one file; its kind is told by its name."""

    def __init__(self, uri: str, asked: MoleculesConfig) -> None:
        self.uri, self.asked = uri, asked
        self.name = plain_name(uri)
        self.sdf = self.name.endswith((".sdf", ".sd", ".mol"))
        self._smi = self.name.endswith(".smi") and not asked.delimiter
        self._further = (*asked.labels, *((asked.split,) if asked.split else ()))

    def chosen(self) -> Iterator[Row]:
        """Iterate over the rows with the fields (SMILES or mol block, labels..., split).

        Raises:
            RequestError: A column is missing.
        """
        if self.sdf:
            return self._records(self._further)
        table = self._table()
        places = [self._place(table, name) for name in (self.asked.smiles, *self._further)]
        return (_picked(row, places) for row in table.rows)

    def numeric(self) -> tuple[str, ...]:
        """Return the columns other than SMILES and split that hold only numbers in the first rows and do not count the rows.

        Raises:
            RequestError: There is none.
        """
        with input_errors(self.uri):
            found = self._numeric_items() if self.sdf else self._numeric_columns()
        if not found:
            raise RequestError(f"{self.uri}: labels=all, but no further column holds numbers only; name the columns")
        return tuple(found)

    def _numeric_columns(self) -> list[str]:
        reader = MoleculeRows(self.uri, replace(self.asked, labels=()))
        table = reader._table(everything=True)
        if self.asked.labels[0] in table.header:
            return list(self.asked.labels)
        rows = [row.fields for row in islice(table.rows, ROWS) if not row.problem]
        width = len(table.header) or min(map(len, rows), default=0)
        names = table.header or [str(number) for number in range(width)]
        used = {reader._place(table, name) for name in (self.asked.smiles, self.asked.split) if name}
        texts = np.array([row[:width] for row in rows], dtype=object).reshape(len(rows), width)
        return [
            name
            for place, name in enumerate(names)
            if place not in used and name and self._only_numbers(name, texts[:, place])
        ]

    def _numeric_items(self) -> list[str]:
        records = list(islice(sdf_records(self.uri, self.asked.encoding), ROWS))
        names = dict.fromkeys(name for record in records for name in record.items if name != self.asked.split)
        return [
            name
            for name in names
            if self._only_numbers(name, np.array([record.items.get(name, "") for record in records], dtype=object))
        ]

    def _only_numbers(self, name: str, texts: npt.NDArray[np.object_]) -> bool:
        found = numbers(texts, self.asked.decimal)
        other, known = np.isinf(found), np.isfinite(found)
        if 0 < other.sum() < known.sum():
            odd = str(texts[int(np.argmax(other))])
            raise RequestError(
                f"{self.uri}: labels=all, but the column {name!r} holds numbers and {odd!r}; name the columns"
            )
        if len(found) >= _COUNTED and bool((np.diff(found) == 1).all()):
            sys.stderr.write(
                f"distgnn: warning: {self.uri}: labels=all leaves out the column {name!r}, which counts the rows;"
                " name it to keep it\n"
            )
            return False
        return not other.any() and bool(known.any())

    def _table(self, everything: bool = False) -> Table:
        asked = self.asked
        if self.name.endswith((".parquet", ".pq")):
            return parquet_table(self.uri, lambda header: header if everything else self._names(header))
        names = () if asked.smiles.isdigit() or self._smi else (asked.smiles, *self._further)
        odd = [] if names else [name for name in self._further if not name.isdigit()]
        if odd:
            smiles = "0" if self._smi else asked.smiles
            raise RequestError(
                f"{self.uri}: has no header (smiles={smiles}), so column {odd[0]!r} must be given as a number"
            )
        if self._smi:
            names_only = not self._further and not everything
            return Table([], " ", smi_rows(self.uri, asked.encoding, names_only))
        delimiter = DELIMITERS.get(asked.delimiter, "")
        return text_table(self.uri, Layout(names, delimiter, asked.encoding))

    def _names(self, header: Sequence[str]) -> list[str]:
        table = Table(list(header), "", iter(()))
        return [header[self._place(table, name)] for name in dict.fromkeys((self.asked.smiles, *self._further))]

    def _place(self, table: Table, name: str) -> int:
        if self._smi and name == self.asked.smiles:
            return 0
        if not table.header and name.isdigit():
            return int(name)
        if name in table.header:
            return table.header.index(name)
        alike = [i for i, column in enumerate(table.header) if column.lower() == "smiles" == name]
        if len(alike) == 1:
            return alike[0]
        known = ", ".join(table.header[:20]) + (", ..." if len(table.header) > 20 else "")
        raise RequestError(
            f"{self.uri}: no column {name!r}; its columns are {known[:400] or 'none (the file is empty)'}"
        )

    def _records(self, names: Sequence[str]) -> Iterator[Row]:
        records = sdf_records(self.uri, self.asked.encoding)
        first = list(islice(records, ROWS))
        known = dict.fromkeys(name for record in first for name in record.items)
        missing = [name for name in names if name not in known]
        if missing:
            found = ", ".join(list(known)[:20]) or "none"
            raise RequestError(f"{self.uri}: no data item {missing[0]!r} in the first records; they have {found[:400]}")
        yield from (_record_row(record, names) for record in first)
        yield from (_record_row(record, names) for record in records)


def _record_row(record: Record, names: Sequence[str]) -> Row:
    return Row(record.line, [record.block, *(record.items.get(name, "") for name in names)], record.problem)


def _picked(row: Row, places: list[int]) -> Row:
    if row.problem:
        return row
    if len(row.fields) <= max(places):
        return Row(row.line, [" ".join(row.fields)], f"too few fields: {len(row.fields)}")
    return Row(row.line, [row.fields[place].strip() for place in places])


def numbers(texts: npt.NDArray[Any], decimal: str) -> npt.NDArray[np.float64]:
    """Parse texts, an object array of any shape, as numbers.

    Args:
        texts: Numbers, true or false, or nothing (also NaN, NA, N/A, null, None).
        decimal: Decimal mark.

    Returns:
        float64 of the same shape: NaN = missing, inf = no number.
    """
    flat = [_WORDS.get(text.lower(), text) for text in map(str.strip, texts.reshape(-1))]
    if decimal != ".":
        flat = [text.replace(".", "_").replace(decimal, ".") for text in flat]
    try:
        joined = "".join(flat)
        if "_" in joined or not joined.isascii():  # float() takes 1_000 and digits of other scripts
            raise ValueError
        found = np.array(flat, dtype=object).astype(np.float64)
    except ValueError:
        found = np.array([_number(text) for text in flat], np.float64)
    return found.reshape(texts.shape)


def _number(text: str) -> float:
    try:
        return float("inf") if "_" in text or not text.isascii() else float(text)
    except ValueError:
        return float("inf")

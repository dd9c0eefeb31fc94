"""Source: a folder of CSV and Parquet files, one table each. Values of CSV files stay text until the schema says what they are."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from distgnn import register
from distgnn.corpus.sources.files import input_errors, open_text, plain_name
from distgnn.errors import RequestError
from distgnn.relational.schema import Schema
from distgnn.relational.sources.base import Declared, Input, stamp
from distgnn.relational.sources.parquet import batches_of, names_of, types_of
from distgnn.storage.folder import open_folder
from distgnn.storage.uri import base_name

_TEXT = (".csv", ".tsv", ".tab", ".txt", ".asc", ".psv")
_MARKS = ("\t", ";", "|", ",")
_HEAD, _BLOCK = 1 << 16, 1 << 22


class _Utf8(io.RawIOBase):
    """Bytes of a text stream in UTF-8."""

    def __init__(self, file: io.TextIOWrapper, uri: str) -> None:
        self._file, self._uri, self._rest, self.quotes = file, uri, b"", 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            try:
                self._rest = self._file.read(_BLOCK).encode()
                self.quotes += self._rest.count(b'"')
            except UnicodeError as error:
                reason = f"not UTF-8 throughout ({error})" if self._file.encoding.startswith("utf-8") else str(error)
                raise RequestError(
                    f"{self._uri}: {reason}; give encoding, such as latin-1, or convert the file"
                ) from error
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


@register.database_source("files")
class Files:
    """A folder of CSV files (also .gz, .bz2, .xz, .zst) and Parquet files; the name of a file is that of its table."""

    def __init__(self, source: Input) -> None:
        self.uri, self.name, self._encoding = source.uri, base_name(source.uri.rstrip("/")), source.encoding
        self._folder = open_folder(source.uri)
        self._files = self._found()
        self._types: dict[str, pa.Schema] = {}
        self._notes: dict[str, list[str]] = {}
        self.rejected: dict[str, tuple[int, str]] = {}

    @staticmethod
    def recognises(uri: str) -> bool:
        """Whether it is a folder with such files."""
        try:
            return any(_table_name(name) for name in open_folder(uri).names())
        except RequestError:
            return False

    def tables(self) -> tuple[str, ...]:
        """Names of the tables, sorted."""
        return tuple(self._files)

    def types(self, table: str) -> pa.Schema:
        """Names and Arrow types of the columns of a table; all text for CSV files."""
        if table not in self._types:
            name = self._files[table]
            if plain_name(name).endswith(".parquet"):
                self._types[table] = types_of(self._folder, name)
                unread = [one for one in names_of(self._folder, name) if one not in self._types[table].names]
                self._notes[table] = [f"{table}.{one}: bytes or nested values are not read" for one in unread]
            else:
                found, columns = self._header(name)[0], self._columns(name)
                self._types[table] = pa.schema([(column, pa.large_string()) for column in columns])
                renamed = [(old, new) for old, new in zip(found, columns, strict=True) if old != new]
                self._notes[table] = [f"{table}: the header {old!r} is called {new!r}" for old, new in renamed]
        return self._types[table]

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """Iterate over the rows of a table; rows of a CSV file with another number of fields are listed as rejected."""
        name = self._files[table]
        if plain_name(name).endswith(".parquet"):
            return batches_of(self._folder, name)
        return self._csv(table, name)

    def declared(self, table: str) -> Declared:
        """Files declare nothing."""
        self.types(table)
        return Declared(notes=tuple(self._notes[table]))

    def schema(self) -> Schema | None:
        """None: all is measured."""
        return None

    def fingerprint(self) -> list[Any]:
        """Names, sizes and times of the files."""
        return [stamp(self._folder, name) for name in self._files.values()]

    def _found(self) -> dict[str, str]:
        files: dict[str, str] = {}
        for name in self._folder.names():
            table = _table_name(name)
            if table and table in files:
                raise RequestError(f"{self.uri}: {files[table]!r} and {name!r} are both table {table!r}; rename one")
            if table:
                files[table] = name
        if not files:
            raise RequestError(f"{self.uri}: no CSV or Parquet file in the folder; name the folder of the tables")
        return files

    def _header(self, name: str) -> tuple[list[str], str]:
        """Return the names of the columns of a CSV file, and its separator."""
        uri = self._folder.at(name)
        with input_errors(uri), open_text(uri, self._encoding, "replace") as file:
            line = file.readline(_HEAD).rstrip("\r\n")
        if not line.strip():
            if self._folder.size(name):
                raise RequestError(f"{uri}: the first line is empty; it must name the columns")
            return [], ","
        mark = max(_MARKS, key=line.count)
        return next(csv.reader([line], delimiter=mark)), mark

    def _columns(self, name: str) -> list[str]:
        """Names of the columns of a CSV file; those without a name, or with that of another, get a number."""
        columns: list[str] = []
        for place, column in enumerate(self._header(name)[0], 1):
            plain, number = column.strip() or f"column_{place}", 1
            free = plain
            while free in columns:
                number += 1
                free = f"{plain}_{number}"
            columns.append(free)
        return columns

    def _csv(self, table: str, name: str) -> Iterator[pa.RecordBatch]:
        uri, mark, columns = self._folder.at(name), self._header(name)[1], self._columns(name)
        bad: list[str] = []
        last: pa.RecordBatch | None = None

        def keep(row: Any) -> str:
            bad.append(
                "" if bad else f"{row.actual_columns} fields, not {row.expected_columns}: {(row.text or '')[:200]}"
            )
            return "skip"

        read = pacsv.ReadOptions(block_size=_BLOCK, use_threads=False, column_names=columns, skip_rows=1)
        text = pa.large_string()
        convert = pacsv.ConvertOptions(
            column_types=dict.fromkeys(columns, text),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        parse = _parse(mark)
        parse.invalid_row_handler = keep
        with input_errors(uri), open_text(uri, self._encoding) as file:
            try:
                plain = _Utf8(file, uri)
                for last in pacsv.open_csv(pa.PythonFile(plain, mode="r"), read, parse, convert):
                    yield last
                _check_end(uri, plain, last, bad)
            except pa.ArrowInvalid as error:
                reason = " ".join(str(error).split())[:200]
                raise RequestError(f"{uri}: not a table of text ({reason}); correct it") from error
        if bad:
            self.rejected[table] = len(bad), bad[0]


def _check_end(uri: str, text: _Utf8, last: pa.RecordBatch | None, bad: list[str]) -> None:
    """Refuse a file whose last quote is open: it swallows the lines after it."""
    cells = [] if last is None or not last.num_rows else last.slice(last.num_rows - 1).to_pylist()[0].values()
    if text.quotes % 2 and any("\n" in cell for cell in cells if cell):
        raise RequestError(f"{uri}: a quote is not closed, and the last row spans several lines; correct it")
    if bad and not cells:
        raise RequestError(f"{uri}: no row has as many fields as the first line ({bad[0]}); correct the first line")


def _parse(mark: str) -> pacsv.ParseOptions:
    return pacsv.ParseOptions(delimiter=mark, newlines_in_values=True)


def _table_name(name: str) -> str:
    """Return the table that a file holds; "" if it is no table."""
    if name.startswith((".", "_")):
        return ""
    stem, extension = os.path.splitext(name)
    if extension.lower() in (".gz", ".bz2", ".xz", ".zst"):
        stem, extension = os.path.splitext(stem)
    return stem if extension.lower() in (*_TEXT, ".parquet") else ""

"""Source: a folder with database.json and one Parquet file per table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from distgnn import register
from distgnn.corpus.sources.files import input_errors, open_binary
from distgnn.corpus.sources.parquet import ParquetColumns
from distgnn.errors import RequestError
from distgnn.relational.schema import Column, ForeignKey, Kind, Schema, Table, check_schema
from distgnn.relational.sources.base import BATCH_ROWS, Declared
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.records import Count, Name, Text, read_record

FILE = "database.json"
_KINDS = {
    "numeric": Kind.NUMBER,
    "categorical": Kind.CATEGORY,
    "text": Kind.TEXT,
    "time": Kind.TIME,
    "id": Kind.KEY,
}


@dataclass(frozen=True)
class _Table:
    primary_key: Name | None
    foreign_keys: dict[Name, Name]
    time_column: Name | None
    columns: dict[Name, Name]
    late_columns: dict[Name, Text] = field(default_factory=dict)
    rows: Count = 0
    time_range: tuple[Name, ...] = ()
    time_missing: Count = 0


@dataclass(frozen=True)
class _Database:
    name: Name
    tables: dict[Name, _Table]
    domain: Text = ""
    source: Text = ""
    licence: Text = ""
    notes: Text = ""
    integrity: tuple[dict[str, Any], ...] = ()


@register.database_source("database_json")
class DatabaseJson:
    """A folder with database.json (keys, kinds, time columns) and TABLE.parquet."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._folder = open_folder(uri)
        self._read = read_record(self._folder, FILE, _Database, "a description of a database")
        self.name = self._read.name
        self._schema = _schema(self._read, self._folder.at(FILE))

    @staticmethod
    def recognises(uri: str) -> bool:
        """Whether there is a database.json of this kind."""
        return is_folder_with(uri, FILE)

    def tables(self) -> tuple[str, ...]:
        """Names of the tables."""
        return tuple(self._read.tables)

    def types(self, table: str) -> pa.Schema:
        """Names and Arrow types of the columns of a table."""
        return parquet_types(self._folder, f"{table}.parquet", tuple(self._read.tables[table].columns))

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """Iterate over the rows of a table."""
        return parquet_batches(self._folder, f"{table}.parquet", tuple(self._read.tables[table].columns))

    def declared(self, table: str) -> Declared:
        """What database.json says about a table."""
        found = self._read.tables[table]
        kinds = {column.name: column.kind for column in self._schema.table(table).columns}
        return Declared(found.primary_key, dict(found.foreign_keys), kinds, found.time_column, keys=True)

    def schema(self) -> Schema:
        """The schema of database.json."""
        return self._schema


def is_folder_with(uri: str, *names: str) -> bool:
    """Whether ``uri`` is a folder with a file of one of these names."""
    try:
        folder = open_folder(uri)
        return any(folder.size(name) is not None for name in names)
    except RequestError:
        return False


def parquet_types(folder: Folder, name: str, columns: tuple[str, ...] = ()) -> pa.Schema:
    """Names and types of the ``columns`` of a Parquet file, in this order (all if none are named); text is text."""
    uri = folder.at(name)
    with input_errors(uri), open_binary(uri) as file:
        found = ParquetColumns(uri, file)
        missing = [column for column in columns if column not in found.names]
        if missing:
            raise RequestError(f"{uri}: no column {missing[0]!r}; it has {', '.join(found.names[:20])}")
        return pa.schema([(column, _whole(found.kind(column))) for column in columns or found.names])


def parquet_batches(folder: Folder, name: str, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """Iterate over the rows of a Parquet file, in bounded memory."""
    types, uri = parquet_types(folder, name, columns), folder.at(name)
    with input_errors(uri), open_binary(uri) as file:
        for batch in ParquetColumns(uri, file).batches(list(columns or types.names), BATCH_ROWS):
            yield pa.RecordBatch.from_arrays([batch.column(item.name).cast(item.type) for item in types], schema=types)


def _whole(kind: pa.DataType) -> pa.DataType:
    return pa.large_string() if pa.types.is_string(kind) or pa.types.is_string_view(kind) else kind


def _schema(read: _Database, where: str) -> Schema:
    tables = tuple(_table(name, table, where) for name, table in read.tables.items())
    keys = tuple(ForeignKey(name, c, parent) for name, t in read.tables.items() for c, parent in t.foreign_keys.items())
    schema = Schema(read.name, tables, keys)
    check_schema(schema, where)
    return schema


def _table(name: str, read: _Table, where: str) -> Table:
    for column, kind in read.columns.items():
        if kind not in _KINDS:
            raise RequestError(f"{where}: {name}.{column} is {kind!r}; the kinds are {', '.join(_KINDS)}")
    unknown = [column for column in read.late_columns if column not in read.columns]
    if unknown:
        raise RequestError(f"{where}: {name}: the late column {unknown[0]!r} is no column; correct its name")
    columns = (Column(column, _KINDS[kind], late=column in read.late_columns) for column, kind in read.columns.items())
    return Table(name, read.primary_key, read.time_column, tuple(columns))

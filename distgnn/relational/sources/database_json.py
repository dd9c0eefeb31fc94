"""Source: a folder with database.json and one Parquet file per table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from distgnn import register
from distgnn.errors import RequestError
from distgnn.relational.schema import Column, ForeignKey, Kind, Schema, Table, check_schema
from distgnn.relational.sources.base import Declared, Input, SourceTask, stamp
from distgnn.relational.sources.parquet import ParquetTables, batches_of, types_of
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.records import Count, Name, Text, parse_object, read_record

FILE, TASKS = "database.json", "tasks.json"
_TASKS_BYTES = 16 << 20
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
    time_range: tuple[Name | None, ...] = ()
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
class DatabaseJson(ParquetTables):
    """A folder with database.json (keys, kinds, time columns) and TABLE.parquet."""

    def __init__(self, source: Input) -> None:
        self.uri = source.uri
        self._folder = open_folder(source.uri)
        self._read = read_record(self._folder, FILE, _Database, "a description of a database")
        self.name = self._read.name
        super().__init__(self._folder, {name: tuple(table.columns) for name, table in self._read.tables.items()})
        self._schema = _schema(self._read, self._folder.at(FILE))

    @staticmethod
    def recognises(uri: str) -> bool:
        """Whether there is a database.json."""
        return is_folder_with(uri, FILE)

    def declared(self, table: str) -> Declared:
        """What database.json says about a table."""
        found = self._read.tables[table]
        kinds = {column.name: column.kind for column in self._schema.table(table).columns}
        return Declared(found.primary_key, dict(found.foreign_keys), kinds, found.time_column, keys=True, times=True)

    def schema(self) -> Schema:
        """The schema of database.json."""
        return self._schema

    def fingerprint(self) -> list[Any]:
        """Names, sizes and times of the files."""
        return [stamp(self._folder, name) for name in (FILE, *(f"{table}.parquet" for table in self.tables()))]

    def tasks(self) -> Iterator[SourceTask]:
        """Iterate over the tasks of tasks.json."""
        for name, facts in described_tasks(self._folder).items():
            key = facts.get("entity_key") if isinstance(facts, dict) else None
            if not isinstance(key, str):
                raise RequestError(f"{self._folder.at(TASKS)}: task {name!r} names no entity_key; add it")
            file, columns = f"tasks/{name}.parquet", (key, "timestamp", "label", "split")
            rows = pa.Table.from_batches(batches_of(self._folder, file, columns), types_of(self._folder, file, columns))
            yield SourceTask(name, facts, rows)


def described_tasks(folder: Folder) -> dict[str, Any]:
    """Entries of tasks.json of a folder by name; empty if there is none."""
    raw = folder.read_if_there(TASKS, _TASKS_BYTES)
    return {} if raw is None else parse_object(raw, folder.at(TASKS), "a list of tasks")


def is_folder_with(uri: str, name: str) -> bool:
    """Whether ``uri`` is a folder with a file called ``name``."""
    try:
        return open_folder(uri).size(name) is not None
    except RequestError:
        return False


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

"""Source: a DuckDB file, opened for reading only and without access to other files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import duckdb
import pyarrow as pa

from distgnn import register
from distgnn.errors import RequestError
from distgnn.relational.schema import Schema
from distgnn.relational.sources.base import BATCH_ROWS, Declared, Input, plain_type, stamp
from distgnn.relational.sources.sql import Reference, combine, combined_columns, combined_types, declared_by, quoted
from distgnn.relational.sources.sqlite import starts_with
from distgnn.storage.folder import open_folder
from distgnn.storage.uri import base_name, parent

_MAGIC, _MAGIC_AT = b"DUCK", 8
_CONFIG: dict[str, Any] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "threads": "2",
}
_TABLES = """SELECT schema_name, table_name FROM duckdb_tables()
WHERE NOT internal AND NOT temporary AND database_name = current_database() ORDER BY schema_name <> 'main', 1, 2"""
_KEYS = """SELECT schema_name, table_name, constraint_type, constraint_column_names, referenced_table, referenced_column_names
FROM duckdb_constraints() WHERE database_name = current_database() AND constraint_type IN ('PRIMARY KEY', 'FOREIGN KEY')
ORDER BY schema_name, table_name, constraint_index"""


@register.database_source("duckdb")
class DuckdbFile:
    """A DuckDB file: tables, primary and foreign keys; tables outside of the schema main are called SCHEMA.TABLE."""

    def __init__(self, source: Input) -> None:
        folder, name = parent(source.uri)
        if not open_folder(folder).local:
            raise RequestError(f"{source.uri}: a DuckDB file is read from a local path; copy it here first")
        self.uri, self.name = source.uri, base_name(source.uri).rpartition(".")[0] or name
        self._path = open_folder(folder).locate(name)
        self._stamps = [stamp(open_folder(folder), one) for one in (name, f"{name}.wal")]
        self._places = {_name(*row): row for row in self._ask(_TABLES)}
        self._names = tuple(self._places)
        self._found: dict[str, list[tuple[str, pa.DataType | None]]] = {}
        self._keys: dict[str, list[str]] = {table: [] for table in self._names}
        self._references: dict[str, list[Reference]] = {table: [] for table in self._names}
        for schema, table, kind, columns, other, to in self._ask(_KEYS):
            if kind == "PRIMARY KEY":
                self._keys[_name(schema, table)] = columns
            else:  # DuckDB has no foreign keys between schemas
                self._references[_name(schema, table)].append(Reference(columns, _name(schema, other), to))
        self._combined = combined_columns(self._keys, self._references)

    @staticmethod
    def recognises(uri: str) -> bool:
        """Whether the file begins as DuckDB files do."""
        return starts_with(uri, _MAGIC, _MAGIC_AT)

    def tables(self) -> tuple[str, ...]:
        """Names of the tables, sorted."""
        return self._names

    def types(self, table: str) -> pa.Schema:
        """Names and Arrow types of the columns of a table."""
        plain = pa.schema([(name, kind) for name, kind in self._all_types(table) if kind is not None])
        return combined_types(plain, self._combined[table])

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """Iterate over the rows of a table, in the order of their insertion."""
        types = self.types(table)
        plain = pa.schema([item for item in types if item.name not in self._combined[table]])
        columns = ", ".join(quoted(name) for name in plain.names)
        with closing(self._connect()) as connection:
            try:
                found = connection.sql(f"SELECT {columns} FROM {self._place(table)}")
                for batch in found.to_arrow_reader(BATCH_ROWS):
                    yield combine(cast_batch(batch, plain), types, self._combined[table])
            except (duckdb.Error, pa.ArrowException) as error:
                raise self._damaged(error) from error

    def declared(self, table: str) -> Declared:
        """Primary and foreign keys of a table."""
        unread = [name for name, kind in self._all_types(table) if kind is None]
        return declared_by(table, self._keys, self._references, unread, self.types(table))

    def schema(self) -> Schema | None:
        """None: kinds and time columns are measured."""
        return None

    def fingerprint(self) -> list[Any]:
        """Name, size and time of the file and of its log."""
        return self._stamps

    def _all_types(self, table: str) -> list[tuple[str, pa.DataType | None]]:
        if table not in self._found:
            self._found[table] = self._look_at(table)
        return self._found[table]

    def _look_at(self, table: str) -> list[tuple[str, pa.DataType | None]]:
        with closing(self._connect()) as connection:
            try:
                empty = connection.sql(f"SELECT * FROM {self._place(table)} LIMIT 0").to_arrow_table()
            except (duckdb.Error, pa.ArrowException) as error:
                raise self._damaged(error) from error
        return [(item.name, plain_type(_values(item.type))) for item in empty.schema]

    def _place(self, table: str) -> str:
        return ".".join(map(quoted, self._places[table]))

    def _connect(self) -> duckdb.DuckDBPyConnection:
        try:
            return duckdb.connect(self._path, read_only=True, config=_CONFIG)
        except duckdb.Error as error:
            raise self._damaged(error) from error

    def _ask(self, question: str) -> list[tuple[Any, ...]]:
        with closing(self._connect()) as connection:
            try:
                return connection.execute(question).fetchall()
            except duckdb.Error as error:
                raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> RequestError:
        return RequestError(
            f"{self.uri}: cannot be read as DuckDB ({' '.join(str(error).split())[:200]}); check the file"
        )


def _name(schema: str, table: str) -> str:
    return table if schema == "main" else f"{schema}.{table}"


def _values(kind: Any) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def cast_batch(batch: pa.RecordBatch, types: pa.Schema) -> pa.RecordBatch:
    """Return a batch with the given types."""
    return pa.RecordBatch.from_arrays([batch.column(item.name).cast(item.type) for item in types], schema=types)

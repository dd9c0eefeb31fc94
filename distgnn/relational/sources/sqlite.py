"""Source: an SQLite file. It is opened for reading only; views and virtual tables are not read, since they run code of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import pyarrow as pa

from distgnn import register
from distgnn.errors import RequestError
from distgnn.relational.schema import Schema
from distgnn.relational.sources.base import BATCH_ROWS, Declared, Input, stamp
from distgnn.relational.sources.sql import Reference, combine, combined_columns, combined_types, declared_by, quoted
from distgnn.storage.folder import open_folder
from distgnn.storage.uri import base_name, parent

T = TypeVar("T")
_MAGIC = b"SQLite format 3\0"
_ERRORS = (sqlite3.Error, UnicodeError)
_VALUE_BYTES = 64 << 20
_ASKED = 400
_TYPES: dict[frozenset[str], pa.DataType] = {
    frozenset(): pa.large_string(),
    frozenset({"integer"}): pa.int64(),
    frozenset({"real"}): pa.float64(),
    frozenset({"integer", "real"}): pa.float64(),
}


@register.database_source("sqlite")
class Sqlite:
    """An SQLite file: tables, primary and foreign keys."""

    def __init__(self, source: Input) -> None:
        folder, name = parent(source.uri)
        if not open_folder(folder).local:
            raise RequestError(f"{source.uri}: an SQLite file is read from a local path; copy it here first")
        self.uri, self.name = source.uri, base_name(source.uri).rpartition(".")[0] or name
        self._path = open_folder(folder).locate(name)
        self._stamps = [stamp(open_folder(folder), one) for one in (name, f"{name}-wal")]
        self._encoding = source.encoding
        self._tables: dict[str, bool] = self._ask(_tables)
        self._types: dict[str, pa.Schema] = {}
        self._unread: dict[str, list[str]] = {}
        self._keys = {name: self._ask(lambda c, name=name: _primary(c, name)) for name in self._tables}
        found = {name: self._ask(lambda c, name=name: _references(c, name)) for name in self._tables}
        self._references = {name: [self._spelled(name, one) for one in ones] for name, ones in found.items()}
        self._combined = combined_columns(self._keys, self._references)

    @staticmethod
    def recognises(uri: str) -> bool:
        """Whether the file begins as SQLite files do."""
        return starts_with(uri, _MAGIC)

    def tables(self) -> tuple[str, ...]:
        """Names of the tables, sorted."""
        return tuple(self._tables)

    def types(self, table: str) -> pa.Schema:
        """Names and Arrow types of the columns: integers, reals, or text where a column holds texts or both."""
        if table not in self._types:
            found = self._ask(lambda connection: _kinds(connection, table))
            self._unread[table] = [name for name, kinds in found.items() if "blob" in kinds]
            plain = [
                (name, _TYPES.get(frozenset(kinds), pa.large_string()))
                for name, kinds in found.items()
                if "blob" not in kinds
            ]
            self._types[table] = combined_types(pa.schema(plain), self._combined[table])
        return self._types[table]

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """Iterate over the rows of a table, by rowid or primary key."""
        types = self.types(table)
        plain = pa.schema([item for item in types if item.name not in self._combined[table]])
        columns = ", ".join(_read_as(item) for item in plain)
        order = "rowid" if self._tables[table] else ", ".join(map(quoted, self._keys[table]))
        with closing(self._connect()) as connection:
            try:
                rows = connection.execute(f"SELECT {columns} FROM {quoted(table)} ORDER BY {order}")
                while batch := rows.fetchmany(BATCH_ROWS):
                    arrays = [
                        pa.array(column, item.type)
                        for column, item in zip(zip(*batch, strict=True), plain, strict=True)
                    ]
                    yield combine(pa.RecordBatch.from_arrays(arrays, schema=plain), types, self._combined[table])
            except _ERRORS as error:
                raise self._damaged(error) from error

    def declared(self, table: str) -> Declared:
        """Primary and foreign keys of a table."""
        types = self.types(table)
        return declared_by(table, self._keys, self._references, self._unread[table], types)

    def schema(self) -> Schema | None:
        """None: kinds and time columns are measured."""
        return None

    def fingerprint(self) -> list[Any]:
        """Name, size and time of the file and of its log."""
        return self._stamps

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        with closing(self._connect()) as connection:
            try:
                return question(connection)
            except _ERRORS as error:
                raise self._damaged(error) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{quote(self._path)}?mode=ro", uri=True)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_BYTES)
        if self._encoding:
            connection.text_factory = partial(str, encoding=self._encoding)
        return connection

    def _spelled(self, table: str, one: Reference) -> Reference:
        """Return a foreign key with the names as the tables spell them: SQLite ignores the case of letters."""
        parent = next((name for name in self._tables if name.lower() == one.parent.lower()), one.parent)
        own = {name.lower(): name for name in self._ask(lambda c: _columns(c, table))}
        other = {name.lower(): name for name in self._keys.get(parent, [])}
        return Reference(
            [own.get(name.lower(), name) for name in one.columns],
            parent,
            [other.get(name.lower(), name) for name in one.to],
        )

    def _damaged(self, error: Exception) -> RequestError:
        text = isinstance(error, UnicodeError) or "UTF-8" in str(error)
        hint = "; give encoding, such as latin-1" if text else "; check the file"
        return RequestError(f"{self.uri}: cannot be read as SQLite ({' '.join(str(error).split())[:200]}){hint}")


def starts_with(uri: str, magic: bytes, offset: int = 0) -> bool:
    """Whether ``uri`` is a file that has ``magic`` at ``offset``."""
    try:
        folder, name = parent(uri)
        place = open_folder(folder)
        if place.size(name) is None:
            return False
        with place.open(name) as file:
            file.seek(offset)
            return file.read(len(magic)) == magic
    except (RequestError, OSError):
        return False


def _tables(connection: sqlite3.Connection) -> dict[str, bool]:
    """Return the plain tables, and whether they have a rowid."""
    rows = connection.execute("PRAGMA table_list").fetchall()
    names = [(name, not without) for schema, name, kind, _, without, *_ in rows if schema == "main" and kind == "table"]
    return dict(sorted((name, rowid) for name, rowid in names if not name.startswith("sqlite_")))


def _kinds(connection: sqlite3.Connection, table: str) -> dict[str, set[str]]:
    """Return the storage classes of the values of each column, without null."""
    columns = _columns(connection, table)
    kinds, result = ("integer", "real", "text", "blob"), {}
    for low in range(0, len(columns), _ASKED):
        some = columns[low : low + _ASKED]
        asked = ", ".join(f"max(typeof({quoted(name)}) = '{kind}')" for name in some for kind in kinds)
        found = connection.execute(f"SELECT {asked} FROM {quoted(table)}").fetchone()
        for number, name in enumerate(some):
            result[name] = {kind for place, kind in enumerate(kinds) if found[4 * number + place]}
    return result


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_xinfo({quoted(table)})") if row[6] in (0, 2, 3)]


def _read_as(item: pa.Field) -> str:
    return f"CAST({quoted(item.name)} AS TEXT)" if pa.types.is_large_string(item.type) else quoted(item.name)


def _primary(connection: sqlite3.Connection, table: str) -> list[str]:
    rows = connection.execute(f"PRAGMA table_info({quoted(table)})").fetchall()
    return [name for _, name in sorted((row[5], row[1]) for row in rows if row[5])]


def _references(connection: sqlite3.Connection, table: str) -> list[Reference]:
    found: dict[int, list[tuple[Any, ...]]] = {}
    for row in connection.execute(f"PRAGMA foreign_key_list({quoted(table)})"):
        found.setdefault(row[0], []).append(row)
    return [
        Reference([row[3] for row in rows], rows[0][2], [row[4] for row in rows if row[4] is not None])
        for _, rows in sorted(found.items(), reverse=True)
    ]

"""Source: a PostgreSQL server, read through ADBC in one read-only transaction."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa

from distgnn import register
from distgnn.errors import RequestError
from distgnn.relational.schema import Schema
from distgnn.relational.sources.base import Declared, Input, plain_type
from distgnn.relational.sources.duckdb_file import cast_batch
from distgnn.relational.sources.sql import (
    Combined,
    Reference,
    combine,
    combined_columns,
    combined_types,
    declared_by,
    quoted,
)

_COLUMNS = """SELECT n.nspname, c.relname, a.attname, coalesce(b.typname, t.typname), coalesce(b.typtype, t.typtype)::text,
CASE WHEN b.oid IS NULL THEN a.atttypmod ELSE t.typtypmod END,
has_schema_privilege(n.oid, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname, a.attnum"""
_KEYS = """SELECT k.oid::bigint, n.nspname, c.relname, k.contype::text, m.nspname, p.relname, a.attname, b.attname
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class p ON p.oid = k.confrelid LEFT JOIN pg_namespace m ON m.oid = p.relnamespace
CROSS JOIN LATERAL unnest(k.conkey) WITH ORDINALITY AS u(number, place)
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number
LEFT JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = k.confkey[u.place]
WHERE k.contype IN ('p', 'f') AND k.conparentid = 0
ORDER BY 1, u.place"""
_PLAIN = {"bool", "int2", "int4", "int8", "float4", "float8"}
_TIMES = {"date", "timestamp", "timestamptz"}
_AS_TEXT = {
    "text",
    "varchar",
    "bpchar",
    "name",
    "uuid",
    "inet",
    "cidr",
    "macaddr",
    "json",
    "jsonb",
    "time",
    "timetz",
    "citext",
}
_AS_NUMBER = {"interval": "extract(epoch FROM {})::float8", "money": "{}::numeric::float8"}


@register.database_source("postgres")
class Postgres:
    """A PostgreSQL server: postgresql://USER@HOST/DATABASE; the password is taken from PGPASSWORD or ~/.pgpass."""

    def __init__(self, source: Input) -> None:
        self._dsn = source.uri
        self.uri, self.name = _place(source.uri)
        self._names: dict[str, str] = {}
        self._selected: dict[str, dict[str, str]] = {}
        self._unread: dict[str, list[str]] = {}
        self._denied: dict[str, list[str]] = {}
        self._keys: dict[str, list[str]] = {}
        self._references: dict[str, list[Reference]] = {}
        self._combined: dict[str, Combined] = {}
        self._connection: Any = None
        with self._cursor() as cursor:
            self._describe(cursor)
            cursor.execute("SELECT pg_current_snapshot()::text")
            self._snapshot = cursor.fetchone()[0]

    @staticmethod
    def recognises(uri: str) -> bool:
        """Whether it is a URI of PostgreSQL."""
        return uri.startswith(("postgresql://", "postgres://"))

    def tables(self) -> tuple[str, ...]:
        """Names of the tables, sorted; those outside of the schema public are called SCHEMA.TABLE."""
        return tuple(self._names)

    def types(self, table: str) -> pa.Schema:
        """Names and Arrow types of the columns of a table."""
        with self._cursor() as cursor:
            cursor.execute(f"{self._query(table)} LIMIT 0")
            found = cursor.fetch_arrow_table().schema
        kinds = [(item.name, plain_type(item.type)) for item in found]
        plain = pa.schema([(name, pa.large_string() if kind is None else kind) for name, kind in kinds])
        return combined_types(plain, self._combined[table])

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """Iterate over the rows of a table, sorted by primary key; without one, in the server's order."""
        types, order = self.types(table), self._order(table)
        plain = pa.schema([item for item in types if item.name not in self._combined[table]])
        with self._cursor() as cursor:
            cursor.execute(f"{self._query(table)} ORDER BY {order}")
            for batch in cursor.fetch_record_batch():
                yield combine(cast_batch(batch, plain), types, self._combined[table])

    def declared(self, table: str) -> Declared:
        """Primary and foreign keys of a table; the first one also says what the user may not read."""
        found = declared_by(table, self._keys, self._references, self._unread[table], self.types(table))
        denied = self._denied.get(table, [])
        tables = [one for one in self._denied if one not in self._names] if table == next(iter(self._names)) else []
        notes = [f"{table}.{column}: the user may not read it" for column in denied]
        return replace(found, notes=(*found.notes, *notes, *(f"{one}: the user may not read it" for one in tables)))

    def schema(self) -> Schema | None:
        """None: kinds and time columns are measured."""
        return None

    def fingerprint(self) -> list[Any]:
        """The server, the columns of the tables, and its snapshot, which changes with every write."""
        return [self.uri, self._selected, self._snapshot]

    def _describe(self, cursor: Any) -> None:
        cursor.execute(_COLUMNS)
        for schema, table, column, kind, sort, modifier, granted in cursor.fetchall():
            name = _name(schema, table)
            if not granted:
                self._denied.setdefault(name, []).append(column)
                continue
            self._names[name] = f"{quoted(schema)}.{quoted(table)}"
            read = _read_as(quoted(column), kind, sort, modifier)
            self._selected.setdefault(name, {})
            if read:
                self._selected[name][column] = read
            self._unread.setdefault(name, []).extend([] if read else [column])
        self._keys, self._references = {name: [] for name in self._names}, {name: [] for name in self._names}
        cursor.execute(_KEYS)
        found: dict[int, list[tuple[Any, ...]]] = {}
        for row in cursor.fetchall():
            found.setdefault(row[0], []).append(row)
        for rows in found.values():
            _, schema, table, kind, parent_schema, parent, _, _ = rows[0]
            columns = [row[6] for row in rows]
            if _name(schema, table) not in self._names:
                continue  # the user may read none of its columns
            if kind == "p":
                self._keys[_name(schema, table)] = columns
            else:
                reference = Reference(columns, _name(parent_schema, parent), [row[7] for row in rows])
                self._references[_name(schema, table)].append(reference)
        self._combined = combined_columns(self._keys, self._references)

    def _order(self, table: str) -> str:
        """Return the columns by which the rows are sorted: a key, the place of the row, or all that the user may read."""
        keys, columns = self._keys[table], self._selected[table]
        if keys and all(key in columns for key in keys):
            return ", ".join(map(quoted, keys))
        return ", ".join(str(place + 1) for place in range(len(columns))) if table in self._denied else "tableoid, ctid"

    def _query(self, table: str) -> str:
        columns = ", ".join(f"{read} AS {quoted(name)}" for name, read in self._selected[table].items())
        return f"SELECT {columns} FROM {self._names[table]}"

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """A cursor of the one transaction in which all is read."""
        adbc = _driver()
        try:
            if self._connection is None:
                self._connection = adbc.connect(self._dsn)
                with closing(self._connection.cursor()) as first:
                    first.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            with closing(self._connection.cursor()) as cursor:
                yield cursor
        except (adbc.Error, pa.ArrowException) as error:
            self.close()
            text = " ".join(str(error).split()).replace(self._dsn, self.uri)[:300]
            raise RequestError(f"{self.uri}: PostgreSQL: {text}; check the server, the user and its rights") from error


def _driver() -> Any:
    try:
        return importlib.import_module("adbc_driver_postgresql.dbapi")
    except ImportError as error:
        raise RequestError(
            "reading PostgreSQL needs adbc-driver-postgresql; install it with: pip install 'distgnn[postgres]'"
        ) from error


def _name(schema: str, table: str) -> str:
    return table if schema == "public" else f"{schema}.{table}"


def _read_as(column: str, kind: str, sort: str, modifier: int) -> str:
    """Return the SQL that reads a column; "" if it cannot be read."""
    if kind in _PLAIN:
        return column
    if kind in _TIMES:
        return f"CASE WHEN isfinite({column}) THEN {column} END"
    if kind == "numeric":
        whole = modifier >= 4 and (modifier - 4) & 0xFFFF == 0 and (modifier - 4) >> 16 <= 18
        return f"{column}::{'int8' if whole else 'float8'}"
    if kind in _AS_NUMBER:
        return _AS_NUMBER[kind].format(column)
    return f"{column}::text" if kind in _AS_TEXT or sort == "e" else ""


def _place(uri: str) -> tuple[str, str]:
    """Return the URI without options, and the name of the database."""
    try:
        parts = urlsplit(uri)
        user = f"{parts.username}@" if parts.username else ""
        password = parts.password
        host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    except ValueError as error:
        raise RequestError("the input is not a URI such as postgresql://user@host:5432/database") from error
    if password is not None:
        raise RequestError("the input holds a password; leave it out and set PGPASSWORD, or write it to ~/.pgpass")
    return urlunsplit((parts.scheme, user + host, parts.path, "", "")), parts.path.strip("/") or "postgres"

"""A database as arrays: typed columns, and foreign keys resolved to rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distgnn.errors import RequestError
from distgnn.relational.encode import UNKNOWN, encode
from distgnn.relational.links import MAX_ROWS, Children, Ints, Resolved, Rows, check_key, children_of, resolve
from distgnn.relational.schema import ForeignKey, Kind, Schema
from distgnn.relational.sources.base import Source

Part = tuple[str, str, str]
"""Name of an array: (table, column, part). Parts of a foreign key are "parent", "indptr", "rows" and, if a table has the times of
its parent, "time"."""


class Database:
    """Columns and foreign keys of a database, memory-mapped from a store or in memory; the values are the same.

    Args:
        schema: The schema.
        rows: Number of rows of each table.
        arrays: Arrays by (table, column, part).
        name: URI or name, for messages.
    """

    def __init__(self, schema: Schema, rows: Mapping[str, int], arrays: Mapping[Part, pa.Array], name: str) -> None:
        self.schema, self.uri = schema, name
        self._rows, self._arrays = rows, arrays

    def rows(self, table: str) -> int:
        """Number of rows of a table."""
        self.schema.table(table)
        return self._rows[table]

    def time(self, table: str) -> Ints | None:
        """Time of each row, int64 microseconds since 1970 UTC; the smallest int64 = unknown. None for a table without time."""
        column = self.schema.table(table).time
        if column is None:
            return None
        key = self.schema.time_key(table)
        return self.times(table, column) if key is None else self._link(key, "time")

    def asked(self, table: str) -> Ints | None:
        """Time at which a row's own values are asked: that of the row, or just after that of its parent, if it has that time.

        A line of an order would not see the order otherwise.
        """
        time = self.time(table)
        if time is None or self.schema.time_key(table) is None:
            return time
        return np.where(time == UNKNOWN, UNKNOWN, time + 1)

    def numbers(self, table: str, column: str) -> npt.NDArray[np.float64]:
        """Values of a column of kind number, float64; NaN = null."""
        return self._numpy(table, column, Kind.NUMBER)

    def times(self, table: str, column: str) -> Ints:
        """Values of a column of kind time, int64 microseconds since 1970 UTC; the smallest int64 = null."""
        return self._numpy(table, column, Kind.TIME)

    def codes(self, table: str, column: str) -> Rows:
        """Values of a column of kind category, int32 indices into :meth:`categories`; -1 = null."""
        return self._numpy(table, column, Kind.CATEGORY)

    def categories(self, table: str, column: str) -> list[str]:
        """Names of the categories of a column, sorted."""
        self._check(table, column, Kind.CATEGORY)
        return self._arrays[table, column, "categories"].to_pylist()

    def text(self, table: str, column: str) -> pa.Array:
        """Values of a column of kind text."""
        self._check(table, column, Kind.TEXT)
        return self._arrays[table, column, ""]

    def keys(self, table: str) -> pa.Array:
        """Primary keys of a table: int64 or text, as the source has them."""
        key = self.schema.table(table).key
        if key is None:
            raise RequestError(f"{self.uri}: table {table!r} has no primary key; name one in the schema")
        return self._arrays[table, key, ""]

    def key_values(self, table: str, column: str) -> pa.Array:
        """Values of any column of kind key, int64 or text."""
        self._check(table, column, Kind.KEY)
        return self._arrays[table, column, ""]

    def parent(self, foreign_key: ForeignKey) -> Rows:
        """Row of the parent of each child row, int32; -1 = null or dangling."""
        return self._link(foreign_key, "parent")

    def children(self, foreign_key: ForeignKey) -> Children:
        """Rows of the children of every parent row, sorted by (parent, time, row)."""
        return Children(self._link(foreign_key, "indptr"), self._link(foreign_key, "rows"))

    def known(self, table: str, column: str) -> Ints | None:
        """Time from which each value of a late column is known, int64; None if the schema does not say.

        It is never before the time of the row. A value whose ``known_at`` is missing is never known (largest int64).
        """
        found = self.schema.column(table, column)
        own = self.time(table)
        if not found.late or (found.late_after is None and not found.known_at):
            return None
        start = np.full(self.rows(table), UNKNOWN) if own is None else own
        if found.known_at:
            at = self.times(table, found.known_at)
            return np.where(at == UNKNOWN, np.iinfo(np.int64).max, np.maximum(start, at))
        return np.where(start == UNKNOWN, start, start + (found.late_after or 0))

    def _link(self, key: ForeignKey, part: str) -> Any:
        if key not in self.schema.foreign_keys:
            raise RequestError(f"{self.uri}: no foreign key {key}")
        return self._arrays[key.table, key.column, part].to_numpy()

    def _numpy(self, table: str, column: str, kind: Kind) -> Any:
        self._check(table, column, kind)
        return self._arrays[table, column, ""].to_numpy()

    def _check(self, table: str, column: str, kind: Kind) -> None:
        found = self.schema.column(table, column).kind
        if found is not kind:
            raise RequestError(f"{self.uri}: {table}.{column} is of kind {found.value}, not {kind.value}")


def link_arrays(
    schema: Schema, key: ForeignKey, resolved: Resolved, time: Callable[[str], Ints | None], parents: int
) -> dict[str, pa.Array]:
    """Return the arrays of a foreign key by part.

    Args:
        schema: The schema.
        key: The foreign key.
        resolved: The parent of each child.
        time: Returns the times of a table; for all keys before this one in :meth:`Schema.links_by_time`.
        parents: Number of parent rows.
    """
    if key == schema.time_key(key.table):
        given = time(key.parent)
        own = np.full(len(resolved.parent), UNKNOWN)
        if given is not None and len(given):
            own = np.where(resolved.parent < 0, UNKNOWN, given[np.maximum(resolved.parent, 0)])
        return _links(resolved, own, parents) | {"time": pa.array(own)}
    return _links(resolved, time(key.table), parents)


def _links(resolved: Resolved, time: Ints | None, parents: int) -> dict[str, pa.Array]:
    children = children_of(resolved.parent, time, parents)
    return {"parent": pa.array(resolved.parent), "indptr": pa.array(children.indptr), "rows": pa.array(children.rows)}


def in_memory(source: Source, schema: Schema) -> Database:
    """Read all tables of a source into memory.

    Raises:
        RequestError: A file is damaged, or a primary key is not unique.
    """
    tables = {
        one.name: pa.Table.from_batches(source.batches(one.name), source.types(one.name)) for one in schema.tables
    }
    return database_of(tables, schema, source.uri)


def database_of(tables: Mapping[str, pa.Table], schema: Schema, name: str) -> Database:
    """Make a database of tables in memory.

    Raises:
        RequestError: A primary key is not unique, or a column is not of its kind.
    """
    arrays: dict[Part, pa.Array] = {}
    rows: dict[str, int] = {}
    for table in schema.tables:
        data = tables[table.name]
        rows[table.name] = check_rows(data.num_rows, f"{name}: {table.name}")
        for column in table.columns:
            encoded = encode(data[column.name], column, f"{name}: {table.name}.{column.name}")
            arrays |= {(table.name, column.name, part): array for part, array in encoded.arrays.items()}
        if table.key is not None:
            check_key(arrays[table.name, table.key, ""], f"{name}: {table.name}.{table.key}")
    database = Database(schema, rows, arrays, name)
    for key in schema.links_by_time():
        resolved = resolve(arrays[key.table, key.column, ""], database.keys(key.parent))
        for part, array in link_arrays(schema, key, resolved, database.time, rows[key.parent]).items():
            arrays[key.table, key.column, part] = array
    return database


def check_rows(count: int, where: str) -> int:
    """Return ``count``; RequestError if a table has more rows than an index can hold."""
    if count > MAX_ROWS:
        raise RequestError(f"{where}: {count:,} rows; a table holds at most {MAX_ROWS:,}; split it")
    return count

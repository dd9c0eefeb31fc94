"""Schema of a relational database: tables, kinds of columns, primary and foreign keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta

from distgnn.errors import RequestError
from distgnn.storage.records import Name, convert

Delay = Annotated[int, Meta(ge=0, le=1 << 60)]
MAX_TABLES, MAX_COLUMNS = 10_000, 10_000


class Kind(StrEnum):
    """What the values of a column are."""

    NUMBER = "number"
    CATEGORY = "category"
    TEXT = "text"
    TIME = "time"
    KEY = "key"


class Unit(StrEnum):
    """Unit of a column of kind time that is stored as numbers since 1970 UTC, or as Julian days."""

    NONE = ""
    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"
    JULIAN = "julian"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    A late column holds what becomes known only after the time of its row. With ``known_at`` or ``late_after`` that time is
    known (see :meth:`distgnn.relational.database.Database.known`); without both it is not.

    Attributes:
        name: Its name.
        kind: What its values are.
        late: Known only after a delay.
        late_after: Microseconds after the row's time at which a late column is known; None if unknown.
        known_at: Time column of the same table that says when a late column is known; "" if there is none.
        unit: Unit of a column of kind time whose values are numbers.
        nulls: Texts that stand for a missing value, beside the source's own nulls.
        formats: How the texts of a column of kind time are written, as ``strptime`` has it, beside ISO 8601; or the decimal mark
            of a column of kind number, if its texts have a comma, groups of digits or a currency.
    """

    name: Name
    kind: Kind
    late: bool = False
    late_after: Delay | None = None
    known_at: Name = ""
    unit: Unit = Unit.NONE
    nulls: tuple[Name, ...] = ()
    formats: tuple[Name, ...] = ()


@dataclass(frozen=True, order=True)
class ForeignKey:
    """``table.column`` refers to the primary key of ``parent``."""

    table: Name
    column: Name
    parent: Name

    def __str__(self) -> str:
        return f"{self.table}.{self.column}->{self.parent}"


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Its name.
        key: Primary key column; None if no single column is one.
        time: Column of kind time that says when a row became known, or a foreign key column: then a row became known with its
            parent. None if its rows are visible always.
        columns: Columns, in the order of the source.
    """

    name: Name
    key: Name | None
    time: Name | None
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """Return the column called ``name``; RequestError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise RequestError(
            f"table {self.name!r} has no column {name!r}; it has {_listed(c.name for c in self.columns)}"
        )


@dataclass(frozen=True)
class Schema:
    """Schema of a database."""

    name: Name
    tables: tuple[Table, ...]
    foreign_keys: tuple[ForeignKey, ...]

    def table(self, name: str) -> Table:
        """Return the table called ``name``; RequestError if there is none."""
        for table in self.tables:
            if table.name == name:
                return table
        raise RequestError(
            f"database {self.name!r} has no table {name!r}; it has {_listed(t.name for t in self.tables)}"
        )

    def column(self, table: str, name: str) -> Column:
        """Return a column; RequestError if there is none."""
        return self.table(table).column(name)

    def parents(self, table: str) -> tuple[ForeignKey, ...]:
        """Return the foreign keys that are columns of ``table``."""
        return tuple(key for key in self.foreign_keys if key.table == table)

    def children(self, table: str) -> tuple[ForeignKey, ...]:
        """Return the foreign keys that refer to ``table``."""
        return tuple(key for key in self.foreign_keys if key.parent == table)

    def time_key(self, table: str) -> ForeignKey | None:
        """Return the foreign key whose parents give the rows of ``table`` their times; None if they have their own, or none."""
        time = self.table(table).time
        return next((key for key in self.parents(table) if key.column == time), None)

    def links_by_time(self) -> tuple[ForeignKey, ...]:
        """Return the foreign keys, each after those that give the times by which it is sorted."""

        def place(key: ForeignKey) -> tuple[int, bool]:
            depth, above = 0, self.time_key(key.table)
            while above is not None:
                depth, above = depth + 1, self.time_key(above.parent)
            return depth, key != self.time_key(key.table)

        return tuple(sorted(self.foreign_keys, key=place))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values that :meth:`from_json` reads."""
        return asdict(self)

    @staticmethod
    def from_json(data: Any, where: str) -> Schema:
        """Read and check the JSON values of a schema; ``where`` is for messages."""
        schema = convert(data, Schema, where, "a schema of a database")
        check_schema(schema, where)
        return schema


def check_schema(schema: Schema, where: str) -> None:
    """Raise RequestError unless names are unique and every key and time column exists and has the right kind."""
    if len(schema.tables) > MAX_TABLES or any(len(table.columns) > MAX_COLUMNS for table in schema.tables):
        raise RequestError(f"{where}: more than {MAX_TABLES} tables or {MAX_COLUMNS} columns in one; leave some out")
    _check_unique((table.name for table in schema.tables), f"{where}: table")
    _check_unique((f"{key.table}.{key.column}" for key in schema.foreign_keys), f"{where}: foreign key")
    for table in schema.tables:
        _check_table(table, where)
    for key in schema.foreign_keys:
        _check_foreign_key(schema, key, where)
    for table in schema.tables:
        _check_inherited_time(schema, table, where)


def _check_table(table: Table, where: str) -> None:
    _check_unique((column.name for column in table.columns), f"{where}: table {table.name!r}: column")
    kinds = {column.name: column.kind for column in table.columns}
    _check_kind(kinds, table.key, Kind.KEY, f"{where}: table {table.name!r}: key")
    for column in table.columns:
        _check_kind(kinds, column.known_at or None, Kind.TIME, f"{where}: {table.name}.{column.name}: known_at")
        _check_formats(column, f"{where}: {table.name}.{column.name}: formats")


def _check_formats(column: Column, where: str) -> None:
    if column.kind is Kind.NUMBER and column.formats not in ((), (".",), (",",)):
        raise RequestError(f'{where} of a number are its decimal mark, ["."] or [","]')
    if column.kind is Kind.TIME and not all("%" in one for one in column.formats):
        raise RequestError(f'{where} of a time are written as ["%d/%m/%Y"]')
    if column.formats and column.kind not in (Kind.NUMBER, Kind.TIME):
        raise RequestError(f"{where} are of numbers and times only; remove them")


def _check_inherited_time(schema: Schema, table: Table, where: str) -> None:
    """Raise RequestError unless the time is a column of kind time, or leads along foreign keys to a table that has one."""
    place, passed, at = f"{where}: table {table.name!r}: time", {table.name}, table
    while (key := schema.time_key(at.name)) is not None:
        if key.parent in passed or schema.table(key.parent).time is None:
            raise RequestError(f"{place}: {table.time!r} leads to {key.parent!r}, which has no time of its own")
        passed.add(key.parent)
        at = schema.table(key.parent)
    if at is table:
        _check_kind({one.name: one.kind for one in table.columns}, table.time, Kind.TIME, place)


def _check_kind(kinds: dict[str, Kind], name: str | None, kind: Kind, where: str) -> None:
    if name is not None and kinds.get(name) is not kind:
        found = kinds[name].value if name in kinds else "missing"
        raise RequestError(f"{where} is {name!r}, which must be a column of kind {kind.value} (it is {found})")


def _check_foreign_key(schema: Schema, key: ForeignKey, where: str) -> None:
    names = {table.name: table for table in schema.tables}
    if key.table not in names or key.parent not in names:
        raise RequestError(f"{where}: foreign key {key}: no such table; the tables are {_listed(names)}")
    if names[key.table].column(key.column).kind is not Kind.KEY:
        raise RequestError(f"{where}: foreign key {key}: {key.table}.{key.column} must be of kind key")
    if names[key.parent].key is None:
        raise RequestError(f"{where}: foreign key {key}: table {key.parent!r} has no primary key; name one")


def _check_unique(names: Iterable[str], what: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise RequestError(f"{what} {twice[0]!r} is there twice; rename one")


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:20]) + (", ..." if len(found) > 20 else "")

"""What SQL sources have in common: quoting, and keys of more than one column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from distgnn.relational.combined import combined_name, joined
from distgnn.relational.sources.base import Declared


class Reference(NamedTuple):
    """A declared foreign key.

    Attributes:
        columns: Columns of the child.
        parent: The parent table.
        to: Columns of the parent; empty = its primary key.
    """

    columns: Sequence[str]
    parent: str
    to: Sequence[str]


def quoted(name: str) -> str:
    """Return a quoted identifier of SQL."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


Combined = dict[str, tuple[str, ...]]
"""Columns of one table that stand for keys of several columns: name -> columns."""


def combined_columns(
    keys: Mapping[str, Sequence[str]], references: Mapping[str, Sequence[Reference]]
) -> dict[str, Combined]:
    """Return by table the columns that stand for primary and foreign keys of several columns."""
    found: dict[str, Combined] = {table: {} for table in keys}
    for table, columns in keys.items():
        if len(columns) > 1:
            found[table][combined_name(columns)] = tuple(columns)
        for one in references.get(table, ()):
            ordered = _ordered(one, keys.get(one.parent, ()))
            if len(ordered) > 1:
                found[table][combined_name(ordered)] = ordered
    return found


def _ordered(one: Reference, key: Sequence[str]) -> tuple[str, ...]:
    """Columns of a foreign key in the order of the parent's primary key; empty if it refers to other columns."""
    to = list(one.to) or list(key)
    if sorted(to) != sorted(key) or len(one.columns) != len(to):
        return ()
    return tuple(one.columns[to.index(column)] for column in key)


def combined_types(types: pa.Schema, combined: Combined) -> pa.Schema:
    """Add the combined columns; those whose parts cannot be read, or whose name is taken, are dropped from ``combined``."""
    for name, columns in list(combined.items()):
        if name in types.names or not all(column in types.names for column in columns):
            del combined[name]
        else:
            types = types.append(pa.field(name, pa.large_string()))
    return types


def combine(batch: pa.RecordBatch, types: pa.Schema, combined: Combined) -> pa.RecordBatch:
    """Add the combined columns of ``types`` to a batch: the parts as text, joined by ``|``; null if a part is."""
    arrays = list(batch.columns)
    for name in types.names[batch.num_columns :]:
        arrays.append(joined(batch.column(column) for column in combined[name]))
    return pa.RecordBatch.from_arrays(arrays, schema=types)


def declared_by(
    table: str,
    keys: Mapping[str, Sequence[str]],
    references: Mapping[str, Sequence[Reference]],
    unread: Sequence[str],
    types: pa.Schema,
) -> Declared:
    """Return what a source declares about a table; what cannot be kept becomes notes.

    Args:
        table: The table.
        keys: Columns of the primary key of every table.
        references: Foreign keys of every table.
        unread: Columns that cannot be read.
        types: Columns that are read.
    """
    notes = [f"{table}.{name}: bytes or nested values are not read" for name in unread]
    key = combined_name(keys[table]) if keys[table] else None
    if key is not None and key not in types.names:
        notes.append(f"{table}: the primary key ({', '.join(keys[table])}) cannot be read")
        key = None
    kept: dict[str, str] = {}
    for one in references[table]:
        problem = _problem(one, keys, kept, types)
        if problem:
            notes.append(f"{table}.{', '.join(one.columns)}->{one.parent}: {problem}")
        else:
            kept[combined_name(_ordered(one, keys[one.parent]))] = one.parent
    any_declared = any(references.values()) or len(keys) == 1
    return Declared(key, kept, notes=tuple(notes), keys=any_declared)


def _problem(one: Reference, keys: Mapping[str, Sequence[str]], kept: Mapping[str, str], types: pa.Schema) -> str:
    if one.parent not in keys:
        return "there is no such table"
    if not keys[one.parent]:
        return "the parent has no primary key"
    ordered = _ordered(one, keys[one.parent])
    if not ordered:
        return f"it refers to {', '.join(one.to)}, not to the primary key"
    name = combined_name(ordered)
    if name not in types.names:
        return "the columns cannot be read"
    return "the column has another foreign key" if name in kept else ""

"""What SQL sources have in common: quoting, and keys of more than one column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

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


def declared_by(
    table: str, keys: Mapping[str, Sequence[str]], references: Mapping[str, Sequence[Reference]], unread: Sequence[str]
) -> Declared:
    """Return what a source declares about a table; what cannot be kept becomes notes.

    Args:
        table: The table.
        keys: Columns of the primary key of every table.
        references: Foreign keys of every table.
        unread: Columns that cannot be read.
    """
    notes = [f"{table}.{name}: bytes or nested values are not read" for name in unread]
    key = keys[table][0] if len(keys[table]) == 1 else None
    if len(keys[table]) > 1:
        notes.append(f"{table}: the primary key has several columns ({', '.join(keys[table])})")
    kept: dict[str, str] = {}
    for one in references[table]:
        problem = _problem(one, keys, kept)
        if problem:
            notes.append(f"{table}.{', '.join(one.columns)}->{one.parent}: {problem}")
        else:
            kept[one.columns[0]] = one.parent
    any_declared = any(references.values()) or len(keys) == 1
    return Declared(key, kept, notes=tuple(notes), keys=any_declared)


def _problem(one: Reference, keys: Mapping[str, Sequence[str]], kept: Mapping[str, str]) -> str:
    if one.parent not in keys:
        return "there is no such table"
    if len(one.columns) > 1:
        return "the foreign key has several columns"
    if len(keys[one.parent]) != 1:
        return "the parent has no primary key of one column"
    if one.to and list(one.to) != list(keys[one.parent]):
        return f"it refers to {', '.join(one.to)}, not to the primary key"
    return "the column has another foreign key" if one.columns[0] in kept else ""

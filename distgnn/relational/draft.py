"""Draft of a schema: what the source declares, and proposals for the rest, each with the figures that speak for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from distgnn.errors import RequestError
from distgnn.relational.measure import (
    Measured,
    as_key,
    inclusion,
    is_key,
    measured,
    names_key,
    names_other_time,
    names_parent,
)
from distgnn.relational.schema import Column, ForeignKey, Kind, Schema, Table, check_schema
from distgnn.relational.sources.base import Declared, Source

Tables = Mapping[str, pa.Table]
_LIKELY, _POSSIBLE = 0.5, 0.99


@dataclass
class Draft:
    """A schema and where it comes from.

    Attributes:
        schema: The schema.
        proposed: Figures by place, such as "customers.key", for what the source does not declare.
        possible: Foreign keys that the values allow but no name suggests, with their figures; they are not in the schema.
        notes: What of the source was left out; one line each.
    """

    schema: Schema
    proposed: dict[str, str] = field(default_factory=dict)
    possible: dict[ForeignKey, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def draft(source: Source, tables: Tables) -> Draft:
    """Draft the schema of a source.

    Args:
        source: The source.
        tables: Its tables; memory-mapped, if they are large.
    """
    known = {name: source.declared(name) for name in tables}
    result = Draft(Schema(source.name, (), ()), notes=[note for one in known.values() for note in one.notes])
    keys = {name: _key(name, known[name], tables[name], result) for name in tables}
    links = _links(known, keys, tables, result)
    made = tuple(_table(name, known[name], keys[name], links, tables[name], result) for name in tables)
    result.schema = Schema(source.name, made, tuple(links))
    check_schema(result.schema, source.uri)
    return result


def _key(name: str, declared: Declared, data: pa.Table, result: Draft) -> str | None:
    if declared.key is not None:
        return declared.key
    named = [column for column in data.column_names if names_key(column, name)]
    for column in named if declared.keys else (*named, *data.column_names[:1]):
        if is_key(data[column]):
            result.proposed[f"{name}.key"] = f"{data.num_rows:,} values, unique, none missing"
            return column
    if declared.keys:
        return None
    result.proposed[f"{name}.key"] = "no column with a name of a key is unique"
    return None


def _links(
    known: Mapping[str, Declared], keys: Mapping[str, str | None], tables: Tables, result: Draft
) -> list[ForeignKey]:
    links = [
        ForeignKey(name, column, parent) for name, one in known.items() for column, parent in one.foreign_keys.items()
    ]
    found = {name: as_key(tables[name][key]) for name, key in keys.items() if key is not None}
    parents = {name: values for name, values in found.items() if values is not None}
    for name, one in known.items():
        for column in () if one.keys else tables[name].column_names:
            if column not in one.foreign_keys:
                links.extend(_propose(name, column, keys, parents, tables, result))
    return links


def _propose(
    name: str,
    column: str,
    keys: Mapping[str, str | None],
    parents: Mapping[str, pa.Array],
    tables: Tables,
    result: Draft,
) -> list[ForeignKey]:
    values, best = as_key(tables[name][column]), (0.0, ForeignKey(name, column, ""), "")
    for parent, found in parents.items():
        if values is None or values.type != found.type or (parent == name and keys[name] == column):
            continue
        count, inside = inclusion(values, found)
        share = inside / count if count else 0.0
        text, link = f"{inside:,} of {count:,} distinct values are keys of {parent}", ForeignKey(name, column, parent)
        if names_parent(column, parent, keys[parent] or "") and share >= max(_LIKELY, best[0]):
            best = (share, link, text)
        elif share >= _POSSIBLE and count > 1 and not pa.types.is_integer(values.type):
            result.possible[link] = text
    if not best[2]:
        return []
    result.proposed[f"{name}.{column}"] = best[2]
    return [best[1]]


def _table(
    name: str, declared: Declared, key: str | None, links: list[ForeignKey], data: pa.Table, result: Draft
) -> Table:
    own = {link.column for link in links if link.table == name} | ({key} if key else set())
    columns = []
    for column in data.column_names:
        kind = Kind.KEY if column in own else declared.kinds.get(column)
        found = Measured(Column(column, kind)) if kind and kind is not Kind.TIME else measured(column, data[column])
        if kind is Kind.TIME and found.column.kind is not Kind.TIME:
            raise RequestError(f"{name}.{column} is declared as a time but does not hold times; correct the source")
        if found.guess and kind is None:
            result.proposed[f"{name}.{column}"] = found.guess
        columns.append(found.column)
    time = declared.time if declared.times else _time(name, columns, data, result)
    return Table(name, key, time, tuple(columns))


def _time(name: str, columns: list[Column], data: pa.Table, result: Draft) -> str | None:
    """Propose the time column with the fewest missing values; of several, one whose name does not say that it is something else."""
    times = [column.name for column in columns if column.kind is Kind.TIME]
    if not times:
        return None
    best = min(times, key=lambda column: (data[column].null_count, names_other_time(column)))
    others = f"; others: {', '.join(one for one in times if one != best)}" if len(times) > 1 else ""
    missing = data[best].null_count
    result.proposed[f"{name}.time"] = f"the time column with the fewest missing values ({missing:,}){others}"
    return best

"""Draft of a schema: what the source declares, and proposals for the rest, each with the figures that speak for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from distgnn.errors import RequestError
from distgnn.relational.encode import UNKNOWN, encode
from distgnn.relational.measure import (
    Measured,
    as_key,
    inclusion,
    is_key,
    measured,
    names_key,
    names_other_time,
    names_parent,
    names_plan,
)
from distgnn.relational.schema import Column, ForeignKey, Kind, Schema, Table, check_schema
from distgnn.relational.sources.base import Declared, Source

Tables = Mapping[str, pa.Table]
_LIKELY, _POSSIBLE, _LATER = 0.5, 0.99, 0.5
_MEASURED = 1 << 20


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
    made = [_table(name, known[name], keys[name], links, tables[name], result) for name in tables]
    undated = {name for name, one in known.items() if not one.times}
    result.schema = Schema(source.name, _with_parents_times(made, links, undated, tables, result), tuple(links))
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
        for column in tables[name].column_names:
            if column not in one.foreign_keys and not (one.keys and column == keys[name]):
                links.extend(_propose(name, column, keys, parents, tables, result, only_named=one.keys))
    return links


def _propose(
    name: str,
    column: str,
    keys: Mapping[str, str | None],
    parents: Mapping[str, pa.Array],
    tables: Tables,
    result: Draft,
    *,
    only_named: bool,
) -> list[ForeignKey]:
    """Propose the parent of a column: its name must fit, and half of its values.

    Where the source declares keys (``only_named``), such a parent is only possible.
    """
    named = [one for one in parents if names_parent(column, one, keys[one] or "")]
    best = (0.0, ForeignKey(name, column, ""), "")
    values = as_key(tables[name][column]) if named or not only_named else None
    if values is None:
        return []
    for parent, found in parents.items():
        mixed = values.type != found.type
        if (parent == name and keys[name] == column) or (mixed and parent not in named):
            continue
        count, inside = inclusion(*((one.cast(pa.large_string()) if mixed else one) for one in (values, found)))
        share = inside / count if count else 0.0
        text, link = f"{inside:,} of {count:,} distinct values are keys of {parent}", ForeignKey(name, column, parent)
        if parent in named and share >= max(_LIKELY, best[0]):
            best = (share, link, text)
        elif not only_named and share >= _POSSIBLE and count > 1 and not pa.types.is_integer(values.type):
            result.possible[link] = text
        elif not only_named and parent in named and count > 1:
            result.possible[link] = f"by its name, but only {text} (such as {_example(values)} and {_example(found)})"
    if not best[2]:
        return []
    if only_named:
        result.possible[best[1]] = best[2]
        return []
    result.proposed[f"{name}.{column}"] = best[2]
    return [best[1]]


def _example(values: pa.Array) -> str:
    return repr(str(values.drop_null()[0])[:40]) if len(values) > values.null_count else "none"


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
    if time is not None and not declared.times:
        columns = [_known_later(name, column, time, columns, data, result) for column in columns]
    return Table(name, key, time, tuple(columns))


def _known_later(name: str, column: Column, time: str, columns: list[Column], data: pa.Table, result: Draft) -> Column:
    """Propose that a time after that of its row, such as of a payment, is known only then."""
    if column.kind is not Kind.TIME or column.name == time or names_plan(column.name):
        return column
    own = next(one for one in columns if one.name == time)
    start, found = (_times(data, one) for one in (own, column))
    both = (start != UNKNOWN) & (found != UNKNOWN)
    share = float((found > start)[both].mean()) if both.any() else 0.0
    if share < _LATER:
        return column
    told = f"later than {time} in {share:.0%} of the rows: taken as known only from then on"
    place = f"{name}.{column.name}"
    result.proposed[place] = "; ".join(filter(None, (result.proposed.get(place), told)))
    return replace(column, late=True, known_at=column.name)


def _with_parents_times(
    tables: list[Table], links: list[ForeignKey], undated: set[str], data: Tables, result: Draft
) -> tuple[Table, ...]:
    """Propose the time of a parent, the latest of several, for tables without a time of their own: lines of an order."""
    found, dated = {one.name: one for one in tables}, {}
    for one in tables:
        if one.time is not None:
            dated[one.name] = _median(one, data[one.name])
    for _ in tables:  # parents before their children
        for name in [one for one in found if one in undated and one not in dated]:
            above = [link for link in links if link.table == name and link.parent in dated]
            if not above:
                continue
            best = max(above, key=lambda link: dated[link.parent])
            others = [link.column for link in above if link != best]
            told = f"; others: {', '.join(others)}" if others else ""
            result.proposed[f"{name}.time"] = (
                f"no time of its own; a row becomes known with its row of {best.parent}{told}"
            )
            found[name], dated[name] = replace(found[name], time=best.column), dated[best.parent]
    return tuple(found.values())


def _times(data: pa.Table, column: Column) -> np.ndarray:
    """Times of the first million rows."""
    return encode(data[column.name].slice(0, _MEASURED), column, column.name).arrays[""].to_numpy()


def _median(table: Table, data: pa.Table) -> float:
    column = table.column(table.time or "")
    times = _times(data, column)
    known = times[times != UNKNOWN]
    return float(np.median(known)) if known.size else -np.inf


def _time(name: str, columns: list[Column], data: pa.Table, result: Draft) -> str | None:
    """Propose a time column: one whose name does not say that it is something else, then that with the fewest missing values.

    One that is missing in half of the rows comes last.
    """
    times = [column.name for column in columns if column.kind is Kind.TIME]
    if not times:
        return None
    best = min(times, key=lambda column: (*_odd(column, data), data[column].null_count))
    others = f"; others: {', '.join(one for one in times if one != best)}" if len(times) > 1 else ""
    missing = data[best].null_count
    result.proposed[f"{name}.time"] = f"a time column with {missing:,} missing values{others}"
    return best


def _odd(column: str, data: pa.Table) -> tuple[bool, bool]:
    return 2 * data[column].null_count >= max(data.num_rows, 1), names_other_time(column)

"""Draft of a schema: what the source declares, and proposals for the rest, each with the figures that speak for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute

from distgnn.errors import RequestError
from distgnn.relational.draft_keys import Draft, Tables, draft_keys
from distgnn.relational.encode import UNKNOWN, encode
from distgnn.relational.formats import spread
from distgnn.relational.measure import Measured, measured
from distgnn.relational.names import names_no_row, names_other_time, names_overwritten, names_plan
from distgnn.relational.schema import Column, ForeignKey, Kind, Schema, Table, check_schema
from distgnn.relational.sources.base import Declared, Source

pc: Any = _compute  # its functions are made at run time
_LATER = 0.5
_MEASURED, _SPREAD = 1 << 20, 0.1


def draft(source: Source, tables: Tables) -> Draft:
    """Draft the schema of a source.

    Args:
        source: The source.
        tables: Its tables; memory-mapped, if they are large.
    """
    known = {name: source.declared(name) for name in tables}
    result = Draft(Schema(source.name, (), ()), notes=[note for one in known.values() for note in one.notes])
    keys, links, tables = draft_keys(known, tables, result)
    made = [_table(name, known[name], keys[name], links, tables[name], result) for name in tables]
    undated = {name for name, one in known.items() if not one.times}
    result.schema = Schema(source.name, _with_parents_times(made, links, undated, tables, result), tuple(links))
    check_schema(result.schema, source.uri)
    return result


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
    if declared.times:
        return Table(name, key, declared.time, tuple(columns))
    leaf = any(link.table == name for link in links) and not any(link.parent == name for link in links)
    time = _time(name, columns, data, leaf, result)
    gone = [c for c in columns if c.kind is Kind.TIME and c.name != time and names_overwritten(c.name)]
    if gone:
        result.overwritten[name] = gone
        columns = [column for column in columns if column not in gone]
        for column in gone:
            result.proposed.pop(f"{name}.{column.name}", None)
    return Table(name, key, time, tuple(_known_later(name, one, time, columns, data, result) for one in columns))


def _known_later(
    name: str, column: Column, time: str | None, columns: list[Column], data: pa.Table, result: Draft
) -> Column:
    """Propose that a time after that of its row, such as of a payment, is known only then; so is any of a row without a time."""
    if column.kind is not Kind.TIME or column.name == time or names_plan(column.name):
        return column
    place = f"{name}.{column.name}"
    if time is None:
        result.proposed[place] = "; ".join(
            filter(None, (result.proposed.get(place), "taken as known only from then on"))
        )
        return replace(column, late=True, known_at=column.name)
    own = next(one for one in columns if one.name == time)
    start, found = (_times(data, one) for one in (own, column))
    both = (start != UNKNOWN) & (found != UNKNOWN)
    share = float((found > start)[both].mean()) if both.any() else 0.0
    if share < _LATER:
        return column
    told = f"later than {time} in {share:.0%} of the rows: taken as known only from then on"
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


def _time(name: str, columns: list[Column], data: pa.Table, leaf: bool, result: Draft) -> str | None:
    """Propose a time column: one whose name does not say that it is something else, then that with the fewest missing values.

    One that is missing in half of the rows comes last. Births, deletions and what is overwritten later are none, and plans only
    of the rows of a table that refers to others and to which none refers (``leaf``): an event is there when it comes. The last
    change of such a row is better than no time, if it is not the same for all.
    """
    times = {column.name: column for column in columns if column.kind is Kind.TIME}
    fit = [one for one in times if not names_no_row(one) and (leaf or not names_plan(one))]
    if leaf and not fit:
        fit = [one for one in times if names_overwritten(one) and _is_spread(data[one])]
    if not fit:
        if times:
            told = f"{', '.join(times)}: no time at which a row became known, by the name"
            result.proposed[f"{name}.time"] = told
        return None
    best = min(fit, key=lambda one: (*_odd(times[one], data), _missing(times[one], data)))
    missing = _missing(times[best], data)
    told = f"a time column with {missing:,} missing values" + (": such rows are visible always" if missing else "")
    told += f"; others: {', '.join(one for one in times if one != best)}" if len(times) > 1 else ""
    told += (
        "; by its name it is overwritten: rows are seen from their last change on" if names_overwritten(best) else ""
    )
    result.proposed[f"{name}.time"] = told
    return best


def _odd(column: Column, data: pa.Table) -> tuple[bool, bool]:
    return 2 * _missing(column, data) >= max(data.num_rows, 1), names_other_time(column.name)


def _missing(column: Column, data: pa.Table) -> int:
    """Number of missing values of a time column, with those that its ``nulls`` replace."""
    values = data[column.name]
    if not column.nulls:
        return values.null_count
    text = values.cast(pa.large_string())
    return values.null_count + (pc.sum(pc.is_in(text, value_set=pa.array(column.nulls, text.type))).as_py() or 0)


def _is_spread(values: pa.ChunkedArray) -> bool:
    """Whether the times of a table are not those of a few imports."""
    sample = spread(values)
    return pc.count_distinct(sample).as_py() >= _SPREAD * len(sample)

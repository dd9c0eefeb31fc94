"""Draft of a schema: what the source declares, and proposals for the rest, each with the figures that speak for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute

from distgnn.errors import RequestError
from distgnn.relational.combined import combined_name, with_combined
from distgnn.relational.encode import UNKNOWN, encode
from distgnn.relational.formats import spread
from distgnn.relational.measure import (
    Measured,
    are_whole_numbers,
    as_key,
    inclusion,
    is_key,
    measured,
    names_key,
    names_no_row,
    names_number_of,
    names_other_time,
    names_overwritten,
    names_own_table,
    names_parent,
    names_plan,
    names_some_table,
    names_table,
    plain,
    refers_to_own_table,
)
from distgnn.relational.schema import Column, ForeignKey, Kind, Schema, Table, check_schema
from distgnn.relational.sources.base import Declared, Source

pc: Any = _compute  # its functions are made at run time
Tables = Mapping[str, pa.Table]
_LIKELY, _POSSIBLE, _SOME, _LATER = 0.5, 0.99, 0.1, 0.5
_SHARED, _PAIRS = 6, 0.9
_MEASURED, _SPREAD = 1 << 20, 0.1
OVERWRITTEN = "overwritten later, as its name says, so it tells of the future; list it in the schema file if it is not"


@dataclass
class Draft:
    """A schema and where it comes from.

    Attributes:
        schema: The schema.
        proposed: Figures by place, such as "customers.key", for what the source does not declare.
        possible: Foreign keys that the values allow but no name suggests, with their figures; they are not in the schema.
        notes: What of the source was left out; one line each.
        unlinked: Columns that are called as references, and the figures of a table that does not fit; "" = no table has the name.
        overwritten: Times that later values replace, by table; they are not in the schema.
    """

    schema: Schema
    proposed: dict[str, str] = field(default_factory=dict)
    possible: dict[ForeignKey, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unlinked: dict[str, str] = field(default_factory=dict)
    overwritten: dict[str, list[Column]] = field(default_factory=dict)

    def left_out(self) -> list[str]:
        """What is not in the schema; one line each."""
        times = [f"{name}.{one.name}" for name, columns in self.overwritten.items() for one in columns]
        return [*self.notes, *(f"{place}: {OVERWRITTEN}" for place in times)]


def draft(source: Source, tables: Tables) -> Draft:
    """Draft the schema of a source.

    Args:
        source: The source.
        tables: Its tables; memory-mapped, if they are large.
    """
    known = {name: source.declared(name) for name in tables}
    result = Draft(Schema(source.name, (), ()), notes=[note for one in known.values() for note in one.notes])
    keys = {name: _key(name, known[name], tables[name], result) for name in tables}
    single = tables
    tables, pairs = _pairs(known, keys, tables, result)
    links = [*_links(known, keys, tables, single, result), *pairs]
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


def _pairs(
    known: Mapping[str, Declared], keys: dict[str, str | None], tables: Tables, result: Draft
) -> tuple[Tables, list[ForeignKey]]:
    """Propose keys of two columns: unique in a table without a key, and found in another table that has both columns.

    Returns:
        The tables with the columns that stand for the pairs, and the foreign keys. The keys are added to ``keys``.
    """
    whole, links = dict(tables), list[ForeignKey]()
    for parent in [name for name, key in keys.items() if key is None and not known[name].keys]:
        best: dict[str, str] = {}
        name = ""
        for pair in _shared_pairs(parent, tables):
            found = _included(parent, pair, tables)
            if len(found) > len(best):
                best, name = found, combined_name(pair)
        if not best:
            continue
        keys[parent] = name
        result.proposed[f"{parent}.key"] = f"{tables[parent].num_rows:,} pairs, unique, none missing"
        whole[parent] = with_combined(whole[parent], [name])
        for child, figures in best.items():
            whole[child] = with_combined(whole[child], [name])
            links.append(ForeignKey(child, name, parent))
            result.proposed[f"{child}.{name}"] = figures
    return whole, links


def _shared_pairs(parent: str, tables: Tables) -> list[tuple[str, str]]:
    """Pairs of columns that a table shares with another, of the first six that two tables share."""
    own = tables[parent].column_names
    shared = ([name for name in own if name in data.column_names] for one, data in tables.items() if one != parent)
    return list(dict.fromkeys(pair for names in shared for pair in combinations(names[:_SHARED], 2)))


def _included(parent: str, pair: tuple[str, str], tables: Tables) -> dict[str, str]:
    """Tables whose values of the pair are among those of ``parent``, which are unique, with figures; empty if they are not."""
    name = combined_name(pair)
    own = with_combined(tables[parent].select(pair), [name])[name]
    if not is_key(own):
        return {}
    found = {}
    for child, data in tables.items():
        if child != parent and {*pair} <= {*data.column_names}:
            values = with_combined(data.select(pair), [name])[name]
            count, inside = inclusion(values.combine_chunks(), own.combine_chunks())
            if count > 1 and inside >= _PAIRS * count:
                found[child] = f"{inside:,} of {count:,} distinct pairs are keys of {parent}"
    return found


def _links(
    known: Mapping[str, Declared], keys: Mapping[str, str | None], tables: Tables, single: Tables, result: Draft
) -> list[ForeignKey]:
    """Return the declared and proposed foreign keys of single columns, those of ``single``."""
    links = [
        ForeignKey(name, column, parent) for name, one in known.items() for column, parent in one.foreign_keys.items()
    ]
    found = {name: as_key(tables[name][key]) for name, key in keys.items() if key is not None}
    parents = {name: values for name, values in found.items() if values is not None}
    for name, one in known.items():
        for column in single[name].column_names:
            if column not in one.foreign_keys and not (one.keys and column == keys[name]):
                links.extend(_propose(name, column, keys, parents, tables, result, only_named=one.keys))
    _keep_unlinked(keys, links, single, result)
    return links


def _keep_unlinked(keys: Mapping[str, str | None], links: list[ForeignKey], tables: Tables, result: Draft) -> None:
    """Note the columns that are called as references and have no parent, such as uid."""
    linked = {(link.table, part) for link in (*links, *result.possible) for part in link.column.split("+")}
    linked |= {(name, part) for name, key in keys.items() if key for part in key.split("+")}
    places = [(name, one) for name, data in tables.items() for one in data.column_names if names_some_table(one)]
    told = {f"{name}.{one}" for name, one in places if (name, one) not in linked and len(tables[name])}
    result.unlinked = {place: result.unlinked.get(place, "") for place in sorted(told)}


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
    named = [one for one in parents if names_parent(column, one, keys[one] or "", name)]
    own = names_own_table(column) and name in parents
    values = as_key(tables[name][column]) if named or own or not only_named else None
    if values is None or len(values) == values.null_count:
        return []
    likely: list[tuple[tuple[Any, ...], ForeignKey, str]] = []
    possible: dict[ForeignKey, str] = {}
    whole = are_whole_numbers(values)
    for parent, found in parents.items():
        mixed = values.type != found.type
        if (parent == name and keys[name] == column) or (mixed and parent not in named):
            continue
        count, inside = inclusion(*((one.cast(pa.large_string()) if mixed else one) for one in (values, found)))
        share, called = inside / count if count else 0.0, names_table(column, parent)
        text, link = f"{inside:,} of {count:,} distinct values are keys of {parent}", ForeignKey(name, column, parent)
        unsure = not called and keys[name] == column and len(found) <= count  # each may be the parent of the other
        unsure |= whole and names_number_of(column, parent)
        if parent in named and share >= _LIKELY and not unsure:
            rank = (share, called, plain(column) == plain(keys[parent] or ""), len(plain(parent)))
            likely.append((rank, link, text))
        elif parent in named and share >= _SOME and count > 1 and not only_named:
            possible[link] = f"by its name, but only {text} (such as {_example(values)} and {_example(found)})"
        elif parent in named:
            example = f"(such as {_example(values)} and {_example(found)})"
            result.unlinked[f"{name}.{column}"] = f"by its name of {parent}, but only {text} {example}"
        elif share >= _POSSIBLE and count > 1 and (own if whole or only_named else True):
            possible[link] = text
    if likely:
        _, link, text = max(likely, key=lambda one: one[0])
        result.unlinked.pop(f"{name}.{column}", None)
        if only_named:
            result.possible[link] = text
            return []
        result.proposed[f"{name}.{column}"] = text
        return [link]
    itself = ForeignKey(name, column, name)
    if itself in possible and refers_to_own_table(column) and not only_named:
        result.proposed[f"{name}.{column}"] = possible[itself]
        return [itself]
    result.possible |= {itself: possible[itself]} if own and itself in possible else possible
    return []


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

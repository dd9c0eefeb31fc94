"""Draft of a schema: the keys and foreign keys that the source declares, and proposals for the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pyarrow as pa

from distgnn.relational.combined import combined_name, with_combined
from distgnn.relational.measure import are_whole_numbers, as_key, inclusion, is_key
from distgnn.relational.names import (
    names_key,
    names_number_of,
    names_own_table,
    names_parent,
    names_some_table,
    names_table,
    plain,
    refers_to_own_table,
)
from distgnn.relational.schema import Column, ForeignKey, Schema
from distgnn.relational.sources.base import Declared

Tables = Mapping[str, pa.Table]
_LIKELY, _POSSIBLE, _SOME = 0.5, 0.99, 0.1
_SHARED, _PAIRS = 6, 0.9
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


def draft_keys(
    known: Mapping[str, Declared], tables: Tables, result: Draft
) -> tuple[dict[str, str | None], list[ForeignKey], Tables]:
    """Find keys and foreign keys: declared, else proposed.

    Args:
        known: What the source declares, by table.
        tables: The tables.
        result: The draft, to which figures are added.

    Returns:
        The key of each table, the foreign keys, and the tables with the columns that stand for keys of two columns.
    """
    keys = {name: _key(name, known[name], tables[name], result) for name in tables}
    whole, pairs = _pairs(known, keys, tables, result)
    return keys, [*_links(known, keys, whole, tables, result), *pairs], whole


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


@dataclass(frozen=True)
class _Match:
    """How well a column may refer to a table: by its name, and by its values among the table's keys.

    Attributes:
        link: The foreign key.
        named: The column is called as a reference to the table.
        likely: So it is, half of its values are keys, and nothing speaks for another meaning.
        rank: The larger, the better.
        share: Share of the distinct values that are keys.
        several: There are several distinct values.
        figures: What was counted.
        example: A value and a key.
    """

    link: ForeignKey
    named: bool
    likely: bool
    rank: tuple[Any, ...]
    share: float
    several: bool
    figures: str
    example: str


def _matches(
    link: tuple[str, str],
    values: pa.Array,
    keys: Mapping[str, str | None],
    parents: Mapping[str, pa.Array],
    named: Collection[str],
) -> Iterator[_Match]:
    """Compare a column, ``link`` = (table, column), with the key of every table; ``named`` are those that it is called after."""
    name, column = link
    whole = are_whole_numbers(values)
    for parent, found in parents.items():
        mixed = values.type != found.type
        if (parent == name and keys[name] == column) or (mixed and parent not in named):
            continue
        count, inside = inclusion(*((one.cast(pa.large_string()) if mixed else one) for one in (values, found)))
        share, called = inside / count if count else 0.0, names_table(column, parent)
        unsure = not called and keys[name] == column and len(found) <= count  # each may be the parent of the other
        unsure |= whole and names_number_of(column, parent)
        yield _Match(
            link=ForeignKey(name, column, parent),
            named=parent in named,
            likely=parent in named and share >= _LIKELY and not unsure,
            rank=(share, called, plain(column) == plain(keys[parent] or ""), len(plain(parent))),
            share=share,
            several=count > 1,
            figures=f"{inside:,} of {count:,} distinct values are keys of {parent}",
            example=f"(such as {_example(values)} and {_example(found)})" if parent in named else "",
        )


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
    matches = [*_matches((name, column), values, keys, parents, named)]
    itself, place = ForeignKey(name, column, name), f"{name}.{column}"
    if likely := [one for one in matches if one.likely]:
        best = max(likely, key=lambda one: one.rank)
        if not only_named:
            result.proposed[place] = best.figures
            return [best.link]
        result.possible[best.link] = best.figures
        return []
    possible: dict[ForeignKey, str] = {}
    for one in matches:
        if one.named and one.share >= _SOME and one.several and not only_named:
            possible[one.link] = f"by its name, but only {one.figures} {one.example}"
        elif one.named:
            result.unlinked[place] = f"by its name of {one.link.parent}, but only {one.figures} {one.example}"
        elif one.share >= _POSSIBLE and one.several and (own or not (only_named or are_whole_numbers(values))):
            possible[one.link] = one.figures
    if itself in possible and refers_to_own_table(column) and not only_named:
        result.proposed[place] = possible[itself]
        return [itself]
    result.possible |= {itself: possible[itself]} if own and itself in possible else possible
    return []


def _example(values: pa.Array) -> str:
    return repr(str(values.drop_null()[0])[:40]) if len(values) > values.null_count else "none"

"""Synthetic databases with known truth: rows have latent factors, which their columns, their links and their events show.

A database has one or two tables of groups, a table of actors, each of a group, and a table of events in time, each of an actor
and mostly of an item. The factors of an actor are those of its groups plus its own; columns are noisy functions of factors.
An actor has more events the larger one combination of its factors is, and a drift that is shared by all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distgnn.graph.keyed import key
from distgnn.graph.purposes import RelationalDraw
from distgnn.relational.database import Database, database_of
from distgnn.relational.schema import Column, ForeignKey, Kind, Schema, Table

Float = npt.NDArray[np.float64]
_FACTORS = 3
_DAYS, _START = 900, 1_500_000_000_000_000
_DAY = 86_400_000_000
_SYLLABLES = ("ba", "ke", "li", "mo", "nu", "ra", "so", "ti", "va", "zu", "der", "pol")


class Synthetic(NamedTuple):
    """A synthetic database and its truth.

    Attributes:
        database: The database.
        factors: float64 [rows, 3] of the table of actors.
        rate: float64 [rows], mean number of events of each actor.
        actors, events: Names of the tables.
    """

    database: Database
    factors: Float
    rate: Float
    actors: str
    events: str


@dataclass
class _Made:
    """A table under construction."""

    name: str
    columns: dict[str, pa.Array]
    kinds: dict[str, Kind]
    links: dict[str, str]
    time: str | None = None


def synthetic_database(number: int, seed: int = 0) -> Synthetic:
    """Make the synthetic database ``number``; a function of it and ``seed``."""
    random = np.random.default_rng(key(seed, RelationalDraw.SYNTHETIC, number))
    names = _words(random, 60)
    groups = [_table(random, next(names), int(random.integers(5, 40)), names) for _ in range(random.integers(1, 3))]
    count = int(random.integers(150, 600))
    inherited, links = np.zeros((count, _FACTORS)), {}
    for made, factors in groups:
        chosen = random.integers(0, len(factors), count)
        inherited += random.uniform(0.3, 1.0) * factors[chosen]
        links[f"{made.name}_id"] = (made.name, chosen)
    actors, factors = _table(random, next(names), count, names, inherited, links)
    items, item_factors = _table(random, next(names), int(random.integers(20, 120)), names)
    rate = np.exp(factors @ random.normal(0, 0.5, _FACTORS)) * random.uniform(3, 12)
    events = _events(random, next(names), names, (actors, factors, rate), (items, item_factors))
    made = [table for table, _ in groups] + [items, actors, events]
    schema = Schema(f"synthetic-{seed}-{number}", tuple(_declared(one) for one in made), tuple(_keys(made)))
    tables = {one.name: pa.table(one.columns) for one in made}
    return Synthetic(database_of(tables, schema, schema.name), factors, rate, actors.name, events.name)


def _words(random: np.random.Generator, count: int) -> Iterator[str]:
    found = dict.fromkeys("".join(random.choice(_SYLLABLES, 3)) + f"{n}" for n in range(count))
    return iter(found)


def _table(
    random: np.random.Generator,
    name: str,
    count: int,
    names: Iterator[str],
    inherited: Float | None = None,
    links: dict[str, tuple[str, npt.NDArray[np.int64]]] | None = None,
) -> tuple[_Made, Float]:
    """Make a table without time whose columns show its factors."""
    own = random.normal(size=(count, _FACTORS))
    factors = own if inherited is None else 0.7 * own + inherited
    made = _Made(name, {"id": pa.array(np.arange(count))}, {"id": Kind.KEY}, {})
    for column, (parent, chosen) in (links or {}).items():
        made.columns[column], made.kinds[column], made.links[column] = pa.array(chosen), Kind.KEY, parent
    _show(random, made, factors, names)
    return made, factors


def _show(random: np.random.Generator, made: _Made, factors: Float, names: Iterator[str]) -> None:
    """Add 2 to 5 columns: noisy functions of the factors, some cells missing."""
    for _ in range(random.integers(2, 6)):
        values = factors @ random.normal(size=_FACTORS) * random.choice([0.0, 0.5, 1.0, 2.0])
        values = values + random.normal(size=len(factors)) * random.uniform(0.2, 1.5)
        column, missing = next(names), random.random(len(factors)) < random.choice([0, 0, 0.1, 0.3])
        if random.random() < 0.4:
            bounds = np.sort(random.normal(0, 1.5, int(random.integers(1, 6))))
            made.columns[column] = pa.array([f"c{code}" for code in np.searchsorted(bounds, values)], mask=missing)
            made.kinds[column] = Kind.CATEGORY
        else:
            shaped = (values, np.exp(values), np.round(values * 3), values**3)[int(random.integers(4))]
            made.columns[column], made.kinds[column] = pa.array(shaped, mask=missing), Kind.NUMBER


def _events(
    random: np.random.Generator,
    name: str,
    names: Iterator[str],
    actors: tuple[_Made, Float, Float],
    items: tuple[_Made, Float],
) -> _Made:
    """Make the events: a Poisson number for each actor, at times of a drift that all share, of items that suit the actor."""
    who = np.repeat(np.arange(len(actors[2])), random.poisson(actors[2]))
    start = np.sort(random.uniform(0, _DAYS * 0.6, len(actors[2])))[random.permutation(len(actors[2]))]
    days = start[who] + (_DAYS - start[who]) * random.random(len(who)) ** random.uniform(0.7, 1.4)
    order = np.argsort(days, kind="stable")
    who, days = who[order], days[order]
    taste = actors[1][who] @ items[1].T * random.uniform(0, 1) + random.gumbel(size=(len(who), len(items[1])))
    what = taste.argmax(1)
    factors = 0.6 * actors[1][who] + 0.4 * items[1][what] + 0.3 * random.normal(size=(len(who), _FACTORS))
    times = (_START + days * _DAY).astype(np.int64)
    made = _Made(name, {"id": pa.array(np.arange(len(who)))}, {"id": Kind.KEY}, {}, "at")
    made.columns |= {"at": pa.array(times, pa.timestamp("us"))}
    made.kinds["at"] = Kind.TIME
    for table, chosen in ((actors[0].name, who), (items[0].name, what)):
        made.columns[f"{table}_id"], made.kinds[f"{table}_id"] = pa.array(chosen), Kind.KEY
        made.links[f"{table}_id"] = table
    _show(random, made, factors, names)
    return made


def _declared(made: _Made) -> Table:
    return Table(made.name, "id", made.time, tuple(Column(name, kind) for name, kind in made.kinds.items()))


def _keys(made: list[_Made]) -> list[ForeignKey]:
    return [ForeignKey(one.name, column, parent) for one in made for column, parent in one.links.items()]

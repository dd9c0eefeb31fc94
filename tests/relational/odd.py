"""Seeded generator of odd databases, in the forms that sources read."""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TABLES = ("order", "select", "Größe", "a b", 'quo"te', "2nd", "x.y", "x", "Users", "log", "日本", "GROUP")
COLUMNS = (
    "from",
    "Value",
    "b b",
    'q"x',
    "3d",
    "p.q",
    "when",
    "état",
    "is_ok",
    "amount",
    "created_at",
    "note",
    "ts",
    "birth_date",
)
ROWS = (0, 1, 3, 40, 150, 300, 300, 300)
FORMATS = ("%d/%m/%Y", "%m/%d/%Y %H:%M", "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%d.%m.%Y", "%b %d, %Y", "%Y-%m-%dT%H:%M:%SZ")
START = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Table:
    """A table: columns of Python values; ``key`` and ``links`` (column -> table) may be declared."""

    rows: int
    columns: dict[str, list[Any]] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    links: dict[str, str] = field(default_factory=dict)


def odd_database(seed: int) -> dict[str, Table]:
    """Return a database of 1 to 5 tables; a function of the seed."""
    random = np.random.default_rng(seed)
    names = [str(name) for name in random.permutation(TABLES)[: random.integers(1, 6)]]
    tables = {name: Table(int(random.choice(ROWS))) for name in names}
    for table in tables.values():
        _keys(random, table)
    for name, table in tables.items():
        for number, column in enumerate(random.permutation(COLUMNS)[: random.integers(0, 7)]):
            if random.random() < 0.35:
                _link(random, table, f"{column}_{number}_id", str(random.choice(names)), tables, name)
            else:
                table.columns[str(column)] = _values(random, table.rows)
        if not table.columns:
            table.columns["only"] = _values(random, table.rows)
    return tables


def _keys(random: np.random.Generator, table: Table) -> None:
    count, kind = table.rows, random.integers(6)
    if kind == 0:
        return
    if kind == 1:
        table.columns |= {"k1": [i % 7 for i in range(count)], "k 2": [f"v{i // 7}" for i in range(count)]}
        table.key = ("k1", "k 2")
        return
    values: dict[int, list[Any]] = {
        2: [int(i) for i in random.permutation(count)],
        3: [f"{i:05d}" for i in range(count)],
        4: [int(i) - 2**40 for i in range(count)],
        5: [f"é|{i}" for i in range(count)],
    }
    table.columns["id"], table.key = values[int(kind)], ("id",)
    if count > 1 and random.random() < 0.1:  # a wrong key
        table.columns["id"][1] = random.choice(np.array([None, table.columns["id"][0]], object))


def _link(
    random: np.random.Generator, table: Table, column: str, parent: str, tables: dict[str, Table], own: str
) -> None:
    keys = tables[parent].columns.get("id", [])
    if not keys or (parent == own and random.random() < 0.3):
        table.columns[column] = [None] * table.rows
        return
    found = [keys[int(i)] for i in random.integers(0, len(keys), table.rows)]
    table.columns[column] = [None if random.random() < 0.1 else value for value in found]
    table.links[column] = parent


def _values(random: np.random.Generator, count: int) -> list[Any]:
    days = [START + timedelta(seconds=int(s)) for s in random.integers(-(10**9), 10**8, count)]
    one = str(random.choice(FORMATS))
    makers: list[Any] = [
        lambda: [int(i) for i in random.integers(-5, 5, count)],
        lambda: [float(x) for x in random.choice([1.5, float("inf"), float("nan"), -1e300, 0.0], count)],
        lambda: [f"{x:.2f}" for x in random.normal(size=count)],
        lambda: [bool(x) for x in random.integers(0, 2, count)],
        lambda: [day.strftime(one) for day in days],
        lambda: [day.strftime(FORMATS[i % len(FORMATS)]) for i, day in enumerate(days)],
        lambda: [int(day.timestamp()) for day in days],
        lambda: [int(day.timestamp() * 1000) for day in days],
        lambda: ["yes" if x else "no" for x in random.integers(0, 2, count)],
        lambda: [f"text {x} 'with' \"quotes\", commas; and\nlines" for x in random.integers(0, 9, count)],
        lambda: ["x" * 20_000 if i == 3 else "" for i in range(count)],
        lambda: [None] * count,
        lambda: [2**62 + i for i in range(count)],
        lambda: [f"{x:,.2f} €" for x in random.normal(0, 1e6, count)],
        lambda: [b"\x00\xff" for _ in range(count)],
        lambda: ["same"] * count,
    ]
    found = makers[int(random.integers(len(makers)))]()
    missing = random.random(count) < random.choice([0, 0, 0.3])
    return [None if gone else value for value, gone in zip(found, missing, strict=True)]


def write(kind: str, tables: dict[str, Table], path: Path, seed: int = 0) -> Path:
    """Write a database as "sqlite", "csv", "parquet" or "duckdb"; returns its path."""
    return {"sqlite": _sqlite, "csv": _csv, "parquet": _parquet, "duckdb": _duckdb}[kind](tables, path, seed)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _rows(table: Table) -> list[tuple[Any, ...]]:
    return list(zip(*table.columns.values(), strict=True))


def _sqlite(tables: dict[str, Table], path: Path, seed: int) -> Path:
    types = ("", "INTEGER", "TEXT", "NUMERIC", "BOOLEAN", "DATETIME", "DECIMAL(10,2)", "VARCHAR(5)")
    with closing(sqlite3.connect(path)) as connection, connection:
        for number, (name, table) in enumerate(tables.items()):
            kinds = ["" if c in table.key else types[(seed + i) % len(types)] for i, c in enumerate(table.columns)]
            parts = [f"{_quoted(c)} {kind}" for c, kind in zip(table.columns, kinds, strict=True)]
            if table.key and seed % 3:
                parts.append(f"PRIMARY KEY ({', '.join(map(_quoted, table.key))})")
            parts += [
                f"FOREIGN KEY ({_quoted(c)}) REFERENCES {_quoted(parent.upper())}" for c, parent in table.links.items()
            ]
            connection.execute(f"CREATE TABLE {_quoted(name)} ({', '.join(parts)})")
            marks = ", ".join("?" * len(table.columns))
            connection.executemany(f"INSERT OR IGNORE INTO {_quoted(name)} VALUES ({marks})", _rows(table))
            connection.execute(f"CREATE VIEW view{number} AS SELECT * FROM {_quoted(name)}")
            table.rows = connection.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0]
    return path


def _csv(tables: dict[str, Table], path: Path, seed: int) -> Path:
    path.mkdir()
    for number, (name, table) in enumerate(tables.items()):
        encoding, mark = ("utf-8", "utf-8-sig", "utf-16")[(seed + number) % 3], ",;\t|"[(seed + number) % 4]
        with (path / f"{name}.csv").open("w", encoding=encoding, newline="") as file:
            writer = csv.writer(file, delimiter=mark)
            writer.writerow(table.columns)
            writer.writerows(_rows(table))
    return path


def _arrow(values: list[Any]) -> pa.Array:
    return pa.array(values) if any(v is not None for v in values) else pa.nulls(len(values))


def _parquet(tables: dict[str, Table], path: Path, seed: int) -> Path:
    del seed
    path.mkdir()
    for name, table in tables.items():
        pq.write_table(pa.table({c: _arrow(v) for c, v in table.columns.items()}), path / f"{name}.parquet")
    return path


def _duckdb(tables: dict[str, Table], path: Path, seed: int) -> Path:
    with closing(duckdb.connect(str(path))) as connection:
        for name, table in tables.items():
            found = pa.table({c: _arrow(v) for c, v in table.columns.items()})
            connection.register("found", found)
            place = f"s{seed % 2}.{_quoted(name)}" if seed % 5 == 0 else _quoted(name)
            if seed % 5 == 0:
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS s{seed % 2}")
            connection.execute(f"CREATE TABLE {place} AS SELECT * FROM found")
            connection.unregister("found")
    return path

"""A small shop database in every form that a source reads."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

DAY = 86_400_000_000


def day(number: int) -> datetime:
    """Day ``number`` of January 2024, at noon."""
    return datetime(2024, 1, number, 12)


def micros(number: int) -> int:
    return int((day(number) - datetime(1970, 1, 1)).total_seconds()) * 1_000_000


TABLES: dict[str, dict[str, list[Any]]] = {
    "customers": {
        "customer_id": ["007", "1e5", "NA"],
        "country": ["fr", "fr", None],
        "note": ["first", "second one", "käse"],
    },
    "orders": {
        "order_id": [10, 11, 12, 13, 14, 15],
        "customer_id": ["007", "1e5", "007", None, "gone", "007"],
        "placed": [day(5), day(2), day(3), day(4), day(6), day(3)],
        "amount": [1.5, 2.0, None, 4.0, 5.0, 6.0],
        "shipped": [day(7), None, day(4), day(5), day(9), day(8)],
    },
}
KEYS = {"customers": "customer_id", "orders": "order_id"}
PARENTS = [0, 1, 0, -1, -1, 0]
CHILDREN = [[2, 5, 0], [1], []]
"""Orders of each customer by (time, row)."""
KINDS = {
    "customers": {"customer_id": "id", "country": "categorical", "note": "text"},
    "orders": {"order_id": "id", "customer_id": "id", "placed": "time", "amount": "numeric", "shipped": "time"},
}
SCHEMA = """
name = "shop"
[tables.customers]
key = "customer_id"
columns = { customer_id = "key", country = "category", note = "text" }
[tables.orders]
key = "order_id"
time = "placed"
foreign_keys = { customer_id = "customers" }
[tables.orders.columns]
order_id = "key"
customer_id = "key"
placed = "time"
amount = "number"
shipped = { kind = "time", late = true, known_at = "shipped" }
"""


def tables() -> dict[str, pa.Table]:
    """The tables as Arrow."""
    return {name: pa.table(columns) for name, columns in TABLES.items()}


def write_json(folder: Path, changed: dict[str, pa.Table] | None = None, facts: Any = None) -> Path:
    """Write database.json and Parquet files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (tables() | (changed or {})).items():
        pq.write_table(table, folder / f"{name}.parquet")
    described = {
        name: {
            "primary_key": KEYS[name],
            "foreign_keys": {"customer_id": "customers"} if name == "orders" else {},
            "time_column": "placed" if name == "orders" else None,
            "columns": KINDS[name],
            "late_columns": {"shipped": "on shipping"} if name == "orders" else {},
        }
        for name in TABLES
    }
    (folder / "database.json").write_text(json.dumps({"name": "shop", "tables": described} | (facts or {})))
    return folder


def write_parquet(folder: Path, changed: dict[str, pa.Table] | None = None) -> Path:
    """Write Parquet files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (tables() | (changed or {})).items():
        pq.write_table(table, folder / f"{name}.parquet")
    return folder


def write_csv(folder: Path) -> Path:
    """Write CSV files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in TABLES.items():
        rows = zip(*columns.values(), strict=True)
        lines = [",".join(columns), *(",".join("" if v is None else str(v) for v in row) for row in rows)]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


DDL = """CREATE TABLE customers (customer_id TEXT PRIMARY KEY, country TEXT, note TEXT);
CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id TEXT{reference}, placed {time}, amount {number}, shipped {time})"""
REFERENCE = " REFERENCES customers(customer_id)"


def rows_of(name: str) -> list[tuple[Any, ...]]:
    return list(zip(*TABLES[name].values(), strict=True))


def write_sqlite(path: Path, reference: str = REFERENCE) -> Path:
    """Write an SQLite file; times are text."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(DDL.format(reference=reference, time="TEXT", number="REAL"))
        for name in TABLES:
            marks = ",".join("?" * len(TABLES[name]))
            rows = [tuple(str(v) if isinstance(v, datetime) else v for v in row) for row in rows_of(name)]
            connection.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)
    return path


def write_duckdb(path: Path) -> Path:
    """Write a DuckDB file. DuckDB refuses dangling keys, so that one is null."""
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute(DDL.format(reference=REFERENCE, time="TIMESTAMP", number="DOUBLE"))
        for name in TABLES:
            rows = [tuple(None if v == "gone" else v for v in row) for row in rows_of(name)]
            connection.executemany(f"INSERT INTO {name} VALUES ({','.join('?' * len(TABLES[name]))})", rows)
    return path


def write_relbench(folder: Path) -> Path:
    """Write a dataset folder of RelBench 3."""
    write_parquet(folder / "db")
    (folder / "manifest.yaml").write_text(
        "name: shop\nmanifest_version: 1\ndescription: |\n  A shop.\nval_timestamp: 2024-01-04\ntest_timestamp: '2024-01-05'\n"
        "tables:\n  customers: {pkey: customer_id, time_col: null, fkeys: {}}\n"
        "  orders:\n    pkey: order_id\n    time_col: placed\n    fkeys:\n      customer_id: customers\n"
    )
    task = folder / "tasks" / "buys"
    task.mkdir(parents=True)
    (task / "manifest.yaml").write_text(
        "name: buys\nkind: forecast\ntask_type: binary_classification\nentity_table: customers\nentity_col: who\n"
        "target_col: y\ntime_col: at\ntimedelta: 2 days\nremove_columns:\n- [orders, shipped]\nsql: SELECT 1\n"
    )
    for number, split in enumerate(("train", "val", "test")):
        labels = {"at": [day(3 + number)] * 2, "who": ["007", "1e5"], "y": [1, 0]}
        pq.write_table(pa.table(labels), task / f"{split}.parquet")
    other = folder / "tasks" / "links"
    other.mkdir()
    (other / "manifest.yaml").write_text("name: links\nkind: external\ntask_type: recommendation\n")
    return folder

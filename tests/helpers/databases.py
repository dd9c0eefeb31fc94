"""A small shop as a relational database: customers, products, orders and their items, with tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Frames = dict[str, pd.DataFrame]
START = pd.Timestamp("2020-01-01")
TABLES: dict[str, dict[str, Any]] = {
    "customers": {
        "primary_key": "customer_id",
        "foreign_keys": {},
        "time_column": None,
        "columns": {"customer_id": "id", "country": "categorical", "age": "numeric", "joined": "time"},
    },
    "products": {
        "primary_key": "product_id",
        "foreign_keys": {},
        "time_column": None,
        "columns": {"product_id": "id", "price": "numeric", "title": "text"},
    },
    "orders": {
        "primary_key": "order_id",
        "foreign_keys": {"customer_id": "customers", "referrer_id": "customers"},
        "time_column": "date",
        "columns": {
            "order_id": "id", "customer_id": "id", "referrer_id": "id", "date": "time", "amount": "numeric", "paid": "categorical"
        },
    },
    "items": {
        "primary_key": None,
        "foreign_keys": {"order_id": "orders", "product_id": "products"},
        "time_column": "date",
        "columns": {"order_id": "id", "product_id": "id", "date": "time", "quantity": "numeric"},
    },
}  # fmt: skip


def frames(customers: int = 60, orders: int = 1500, seed: int = 0) -> Frames:
    """Tables sorted by time. Times are whole days, so that many equal a cut-off."""
    random = np.random.default_rng(seed)
    eager = random.dirichlet(np.full(customers, 0.5))
    date = START + pd.to_timedelta(np.sort(random.integers(0, 600, orders)), "D")
    buyer = random.choice(customers, orders, p=eager)
    found = {
        "customers": pd.DataFrame(
            {
                "customer_id": np.arange(customers) + 100,
                "country": random.choice(["de", "fr", "it", None], customers),
                "age": random.integers(18, 80, customers).astype(float),
                "joined": START - pd.to_timedelta(random.integers(1, 900, customers), "D"),
            }
        ),
        "products": pd.DataFrame(
            {
                "product_id": np.arange(20),
                "price": random.gamma(2.0, 10.0, 20),
                "title": [f"thing {'x' * int(n)}" for n in random.integers(1, 9, 20)],
            }
        ),
        "orders": pd.DataFrame(
            {
                "order_id": np.arange(orders) + 5000,
                "customer_id": buyer + 100,
                "referrer_id": random.integers(0, customers, orders) + 100,
                "date": date,
                "amount": random.gamma(2.0, 20.0, orders) * (1 + buyer % 3),
                "paid": random.choice(["card", "cash", "bill"], orders),
            }
        ),
    }
    of = np.sort(random.integers(0, orders, 2 * orders))
    found["items"] = pd.DataFrame(
        {
            "order_id": of + 5000,
            "product_id": random.integers(0, 20, of.size),
            "date": date[of],
            "quantity": random.integers(1, 5, of.size).astype(float),
        }
    )
    return found


def buys(tables: Frames, horizon: int = 30) -> pd.DataFrame:
    """Task rows: whether a customer orders in [t, t + horizon days)."""
    orders, parts = tables["orders"], []
    for place, day in enumerate(range(60, 560, 20)):
        cut = START + pd.Timedelta(day, "D")
        window = orders[(orders.date >= cut) & (orders.date < cut + pd.Timedelta(horizon, "D"))]
        keys = tables["customers"].customer_id
        split = "train" if place < 15 else "val" if place < 18 else "test"
        label = keys.isin(window.customer_id).astype(float)
        parts.append(pd.DataFrame({"customer_id": keys, "timestamp": cut, "label": label, "split": split}))
    rows = pd.concat(parts, ignore_index=True)
    gap = pd.Timedelta(horizon, "D")
    first = {split: rows.timestamp[rows.split == split].min() for split in ("val", "test")}
    late = ((rows.split == "train") & (rows.timestamp + gap > first["val"])) | (
        (rows.split == "val") & (rows.timestamp + gap > first["test"])
    )
    return rows[~late].reset_index(drop=True)


def write_database(folder: Path, tables: Frames, name: str = "shop") -> str:
    """Write database.json, tables and the tasks ``buys`` (binary) and ``order-amount`` (regression); return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    declared = {key: {**TABLES[key], "columns": {c: _kind(key, c) for c in tables[key].columns}} for key in TABLES}
    (folder / "database.json").write_text(json.dumps({"name": name, "tables": declared}))
    for key, frame in tables.items():
        frame.to_parquet(folder / f"{key}.parquet")
    orders = tables["orders"].iloc[200:].iloc[::3]
    split = np.where(
        orders.date < START + pd.Timedelta(400, "D"),
        "train",
        np.where(orders.date < START + pd.Timedelta(480, "D"), "val", "test"),
    )
    amount = pd.DataFrame(
        {"order_id": orders.order_id, "timestamp": orders.date, "label": orders.amount, "split": split}
    )
    tasks = {
        "buys": _task("customers", "customer_id", "classification", 30, [], buys(tables)),
        "order-amount": _task("orders", "order_id", "regression", None, ["amount"], amount),
    }
    (folder / "tasks").mkdir(exist_ok=True)
    for task, (_, rows) in tasks.items():
        rows.to_parquet(folder / "tasks" / f"{task}.parquet")
    (folder / "tasks.json").write_text(json.dumps({task: facts for task, (facts, _) in tasks.items()}))
    return str(folder)


def _kind(table: str, column: str) -> str:
    return TABLES[table]["columns"].get(column, "numeric")


def _task(
    table: str, key: str, kind: str, horizon: int | None, hidden: list[str], rows: pd.DataFrame
) -> tuple[dict[str, Any], pd.DataFrame]:
    facts = {
        "entity_table": table,
        "entity_key": key,
        "kind": kind,
        "metric": "auroc" if kind == "classification" else "mae",
        "split": {"by": "time", "label_window_days": horizon},
        "hide": {"entity_row": hidden, "everywhere": []},
    }
    return facts, rows

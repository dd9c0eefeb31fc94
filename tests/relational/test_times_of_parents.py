"""Tables without a time of their own: their rows become known with those of a parent."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import distgnn as dg
from distgnn.relational.cells import Cells
from distgnn.relational.database import Database, database_of
from distgnn.relational.encode import UNKNOWN
from distgnn.relational.evidence import collect
from distgnn.relational.sampling import Limits, Seeds
from distgnn.relational.schema import Column, ForeignKey, Kind, Schema, Table, Unit, check_schema
from distgnn.relational.store import verify_database
from distgnn.relational.visibility import Visibility
from tests.relational import shop

K, T = Kind.KEY, Kind.TIME
ORDER, PRODUCT = ForeignKey("lines", "order_id", "orders"), ForeignKey("lines", "product_id", "products")
SQL = """
CREATE TABLE products (product_id INTEGER PRIMARY KEY, added TEXT);
CREATE TABLE orders (order_id INTEGER PRIMARY KEY, placed TEXT);
CREATE TABLE lines (line_id INTEGER PRIMARY KEY, order_id INT REFERENCES orders, product_id INT REFERENCES products, quantity REAL);
CREATE TABLE notes (line_id INT REFERENCES lines, length REAL);
INSERT INTO products VALUES (1, '2024-01-01'), (2, '2024-01-01');
INSERT INTO orders VALUES (1, '2024-01-05'), (2, '2024-01-03'), (3, '2024-01-09');
INSERT INTO lines VALUES (10, 1, 1, 5), (11, 2, 1, 7), (12, 3, 1, 9), (13, 99, 1, 1), (14, 3, 2, 2);
INSERT INTO notes VALUES (12, 3), (10, 4), (11, 8);
"""


def midnight(day: int) -> int:
    return shop.micros(day) - shop.DAY // 2


@pytest.fixture
def store(tmp_path: Path) -> tuple[str, Database]:
    """The store of an SQLite file, built as proposed."""
    with closing(sqlite3.connect(tmp_path / "in.sqlite")) as connection:
        connection.executescript(SQL)
    uri = str(tmp_path / "store")
    return uri, dg.build_database(input=tmp_path / "in.sqlite", out=uri, accept_proposal=True)


def test_lines_and_their_notes_have_the_time_of_the_order(store: tuple[str, Database]) -> None:
    uri, database = store
    assert database.schema.table("lines").time == "order_id"  # the orders are later than the products
    assert database.schema.table("notes").time == "line_id"
    lines, notes = database.time("lines"), database.time("notes")
    assert lines is not None
    assert notes is not None
    assert lines.tolist() == [midnight(5), midnight(3), midnight(9), UNKNOWN, midnight(9)]
    assert notes.tolist() == [midnight(9), midnight(5), midnight(3)]
    children = database.children(PRODUCT)
    assert children.rows[: children.indptr[1]].tolist() == [3, 1, 0, 2]  # by time, the unknown one first
    assert verify_database(uri) == []


def test_lines_of_later_orders_are_not_seen(store: tuple[str, Database]) -> None:
    database = store[1]
    cells = Cells(Visibility(database, "products"))
    seeds = Seeds("products", np.array([0, 0]), np.array([midnight(5), midnight(6)]), np.arange(2))
    sources, values = collect(cells, seeds, Limits())
    place = next(i for i, s in enumerate(sources) if (s.table, s.column, s.aggregate) == ("lines", "quantity", "max"))
    assert values[:, place].tolist() == [7, 7]
    counts = next(i for i, s in enumerate(sources) if (s.table, s.kind, len(s.path)) == ("lines", "count", 1))
    np.testing.assert_allclose(np.expm1(values[:, counts]), [2, 3], rtol=1e-6)  # strictly before, and the undated line


def test_rules_use_the_times_of_parents(store: tuple[str, Database], tmp_path: Path) -> None:
    uri, _ = store
    text = """[tasks.units]
entity = "products"
rule = "sum(lines.quantity) within 2 days"
start = "2024-01-04"
every_days = 2
[tasks.big]
entity = "lines"
rule = "value(lines.quantity) > 4"
"""
    (tmp_path / "tasks.toml").write_text(text)
    dg.add_tasks(uri, str(tmp_path / "tasks.toml"))
    database = dg.open_database(uri)
    rows = dg.load_task(database, "units")[1]
    assert {(int(e), int(t)): y for e, t, y in zip(rows.entity, rows.time, rows.label, strict=True)} == {
        (e, midnight(day)): {(0, 4): 5.0}.get((e, day), 0.0) for e in (0, 1) for day in (4, 6)
    }
    rows = dg.load_task(database, "big")[1]
    assert sorted(rows.time.tolist()) == [midnight(3) + 1, midnight(5) + 1, midnight(9) + 1, midnight(9) + 1]
    cells = Cells(Visibility(database, "lines"))
    sources, values = collect(cells, Seeds("lines", rows.entity.astype(np.int64), rows.time, np.arange(4)), Limits())
    present = next(i for i, s in enumerate(sources) if (s.table, s.kind) == ("orders", "present"))
    assert values[:, present].tolist() == [1] * 4  # a line sees its order


def test_times_of_tables_in_memory() -> None:
    tables = {
        "orders": pa.table({"order_id": [1, 2, 3], "placed": pa.array([5, 3, 9], pa.int64())}),
        "lines": pa.table({"line_id": [10, 11, 12], "order_id": [1, 2, 3]}),
    }
    schema = Schema(
        "s",
        (
            Table("lines", "line_id", "order_id", (Column("line_id", K), Column("order_id", K))),
            Table("orders", "order_id", "placed", (Column("order_id", K), Column("placed", T, unit=Unit.SECONDS))),
        ),
        (ORDER,),
    )
    found = database_of(tables, schema, "s").time("lines")
    assert found is not None
    assert found.tolist() == [5_000_000, 3_000_000, 9_000_000]


@pytest.mark.parametrize("times", [{"a": "b", "b": "a"}, {"a": "b", "b": None}])
def test_a_time_must_lead_to_a_time(times: dict[str, str | None]) -> None:
    tables = tuple(Table(name, name, time, (Column("a", K), Column("b", K))) for name, time in times.items())
    with pytest.raises(dg.RequestError, match=r"which has no time of its own"):
        check_schema(Schema("s", tables, (ForeignKey("a", "b", "b"), ForeignKey("b", "a", "a"))), "here")

"""Bad input: each is refused in one line, or counted and listed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import distgnn as dg
from distgnn.relational.manifest import read_manifest
from distgnn.relational.schema import ForeignKey
from distgnn.relational.statistics import statistics, task_warnings
from distgnn.relational.tasks import Task, TaskRows
from distgnn.storage.folder import open_folder
from tests.relational import shop

START = datetime(2024, 1, 1)
LINK = ForeignKey("orders", "customer_id", "customers")
LATE = "orders: shipped: known late, not said when: rows before the cut-off show them; hide what tells the label"


def lines(out: Path) -> list[str]:
    return [one.line() for one in read_manifest(open_folder(str(out))).findings]


def changed(table: str, **columns: Any) -> dict[str, pa.Table]:
    return {table: pa.table(shop.TABLES[table] | columns)}


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ("customers", {"customer_id": ["007", "1e5", "007"]}, r"not unique \(1 repeated; '007' is there 2 times\)"),
        ("customers", {"customer_id": ["007", None, "NA"]}, r"1 rows have no primary key \(row 1\)"),
    ],
)
def test_wrong_keys_are_refused(table: str, columns: Any, message: str, tmp_path: Path) -> None:
    folder = shop.write_json(tmp_path / "in", changed(table, **columns))
    with pytest.raises(dg.RequestError, match=message):
        dg.build_database(input=folder, out=tmp_path / "store")
    with pytest.raises(dg.RequestError, match=message):
        dg.open_database(str(folder))
    assert not (tmp_path / "store" / "store.json").exists()


def test_keys_of_different_types_are_compared_as_text(tmp_path: Path) -> None:
    folder = shop.write_json(
        tmp_path / "in",
        changed("orders", customer_id=[7, 1, 7, None, 9, 7]) | changed("customers", customer_id=["7", "9", "1e5"]),
    )
    database = dg.build_database(input=folder, out=tmp_path / "store")
    assert database.parent(LINK).tolist() == [0, -1, 0, -1, 1, 0]
    told = "orders.customer_id->customers: 5 keys compared as text, since one side is integers"
    assert told in lines(tmp_path / "store")


def test_empty_tables_and_empty_columns_are_listed(tmp_path: Path) -> None:
    empty = pa.table(shop.TABLES["customers"]).slice(0, 0)
    nothing = pa.table(shop.TABLES["orders"] | {"amount": pa.nulls(6, pa.float64())})
    folder = shop.write_json(tmp_path / "in", {"customers": empty, "orders": nothing})
    database = dg.build_database(input=folder, out=tmp_path / "store")
    assert "customers: 0 rows (an empty table)" in lines(tmp_path / "store")
    assert "orders.amount: 6 values, all missing" in lines(tmp_path / "store")
    assert database.parent(LINK).tolist() == [-1] * 6
    assert database.children(LINK).indptr.tolist() == [0]
    assert "customers: the table is empty" in statistics(database)["warnings"]


def test_many_categories_are_listed(tmp_path: Path) -> None:
    count = 20_000
    table = pa.table(
        {
            "customer_id": [str(i) for i in range(count)],
            "country": [f"c{i}" for i in range(count)],
            "note": ["n"] * count,
        }
    )
    database = dg.build_database(input=shop.write_json(tmp_path / "in", {"customers": table}), out=tmp_path / "store")
    assert "customers.country: 20,000 categories (text may suit better)" in lines(tmp_path / "store")
    assert len(database.categories("customers", "country")) == count


def test_values_of_another_kind_are_counted(tmp_path: Path) -> None:
    folder = shop.write_json(
        tmp_path / "in", changed("orders", amount=["1", "?", r"\N", "4", "5", "6"], shipped=["soon"] + [None] * 5)
    )
    dg.build_database(input=folder, out=tmp_path / "store")
    assert "orders.amount: 2 values are no number and count as missing (such as '?')" in lines(tmp_path / "store")
    assert "orders.shipped: 1 values are no time and count as missing (such as 'soon')" in lines(tmp_path / "store")


def test_dates_out_of_range_old_children_and_hubs_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distgnn.relational.statistics._HUB", 3)
    placed = [datetime(1850, 1, 1), datetime(2999, 1, 1), *shop.TABLES["orders"]["placed"][2:]]
    visits = {"visit_id": [1, 2], "order_id": [10, 12], "at": [datetime(1800, 1, 1), shop.day(9)]}
    facts = json.loads(
        (shop.write_json(tmp_path / "in", changed("orders", placed=placed)) / "database.json").read_text()
    )
    facts["tables"]["visits"] = {
        "primary_key": "visit_id",
        "foreign_keys": {"order_id": "orders"},
        "time_column": "at",
        "columns": {"visit_id": "id", "order_id": "id", "at": "time"},
    }
    (tmp_path / "in" / "database.json").write_text(json.dumps(facts))
    pq.write_table(pa.table(visits), tmp_path / "in" / "visits.parquet")
    warnings = statistics(dg.open_database(str(tmp_path / "in")))["warnings"]
    assert "orders.placed: 1 times are before 1900" in warnings
    assert "orders.placed: 1 times are in the future" in warnings
    assert "visits.order_id->orders: 1 rows are older than their parent" in warnings
    assert "orders.customer_id->customers: a row has 3 children; samples keep only some of them" in warnings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "note2"}, "key is 'note2', which must be a column of kind key"),
        ({"time": "note"}, "time is 'note', which must be a column of kind time"),
        ({"foreign_keys": {"note": "nowhere"}}, "no such table"),
        ({"foreign_keys": {"note": "customers"}}, "customers.note must be of kind key"),
        ({"columns": {"customer_id": "key", "nota": "text"}}, "has no readable column 'nota'"),
        ({"columns": {"customer_id": "id"}}, "not a column"),
        ({"columns": {"customer_id": {"kind": "key", "known_at": "x"}}}, "need late = true"),
        ({"colums": {}}, "'colums' is an unknown field"),
    ],
)
def test_schema_files(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    facts = {"key": "customer_id", "columns": {"customer_id": "key", "note": "text"}} | change
    text = "".join(f"{name} = {_toml(value)}\n" for name, value in facts.items())
    (tmp_path / "s.toml").write_text(f'name = "shop"\n[tables.customers]\n{text}')
    folder = shop.write_json(tmp_path / "in")
    with pytest.raises(dg.RequestError, match=message):
        dg.build_database(input=folder, out=tmp_path / "store", schema=tmp_path / "s.toml")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + " }"
    return json.dumps(value)


def test_schema_file_that_is_no_toml(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("name = \n")
    with pytest.raises(dg.RequestError, match="not a schema file"):
        dg.build_database(input=shop.write_json(tmp_path / "in"), out=tmp_path / "store", schema=tmp_path / "s.toml")


def test_rows_with_other_numbers_of_fields_are_counted(tmp_path: Path) -> None:
    shop.write_csv(tmp_path / "in")
    with (tmp_path / "in" / "customers.csv").open("a") as file:
        file.write("x,y\n1,2,3,4\n")
    dg.build_database(input=tmp_path / "in", out=tmp_path / "store", accept_proposal=True)
    assert "customers: 2 rejected rows (such as '2 fields, not 3: x,y')" in lines(tmp_path / "store")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "holds no table with columns that can be read"),
        ("t.csv", b"\na,b\n1,2\n", "the first line is empty"),
        ("t.csv", b"a,b\n1,2,3\n", r"no row has as many fields as the first line \(3 fields, not 2: 1,2,3\)"),
        ("t.csv", b'a,b\n1,"x\n2,y\n3,z\n', "a quote is not closed"),
        ("t.parquet", b"PAR1 no", "damaged, or not Parquet"),
        ("t.csv.gz", b"no gzip", "damaged"),
        ("t.csv", b"a,b\n\xff,1\n", "not UTF-8 throughout"),
    ],
)
def test_damaged_files(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(content)
    with pytest.raises(dg.RequestError, match=message):
        dg.build_database(input=tmp_path / "in", out=tmp_path / "store", accept_proposal=True)


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_damaged_database_files(kind: str, tmp_path: Path) -> None:
    path = {"sqlite": shop.write_sqlite, "duckdb": shop.write_duckdb}[kind](tmp_path / "a.db")
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 2000)
    with pytest.raises(dg.RequestError, match="cannot be read as"):
        dg.build_database(input=path, out=tmp_path / "store", accept_proposal=True)


def test_sqlite_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, x TEXT)")
        connection.execute("INSERT INTO t VALUES (1, CAST(x'ff' AS TEXT))")
    with pytest.raises(dg.RequestError, match="give encoding"):
        dg.build_database(input=path, out=tmp_path / "store")
    database = dg.build_database(input=path, out=tmp_path / "store", encoding="latin-1", overwrite=True)
    assert database.text("t", "x").to_pylist() == ["ÿ"]


def test_headers_without_a_name_or_with_that_of_another_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "t.csv").write_text(",a, a,b\n0,1,2,3\n")
    (tmp_path / "in" / "nothing.csv").write_text("")
    database = dg.build_database(input=tmp_path / "in", out=tmp_path / "store", accept_proposal=True)
    assert [column.name for column in database.schema.table("t").columns] == ["column_1", "a", "a_2", "b"]
    assert "left out: t: the header '' is called 'column_1'" in lines(tmp_path / "store")
    assert "left out: nothing: none of its columns can be read" in lines(tmp_path / "store")


def test_sqlite_columns_of_several_types_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, x, y)")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", [(1, 5, 1), (2, "five", 2.5), (3, 2.5, None)])
    database = dg.build_database(input=path, out=tmp_path / "store")
    assert database.text("t", "x").to_pylist() == ["5", "five", "2.5"]
    np.testing.assert_array_equal(database.numbers("t", "y"), [1, 2.5, np.nan])


def test_yaml_of_others(tmp_path: Path) -> None:
    folder = shop.write_relbench(tmp_path / "in")
    for text, message in (
        ("a: &a [1]\nb: *a\n", "aliases are not supported"),
        ("[1, 2]", "not a manifest"),
        ("name: shop\ntables: 3\n", "not a manifest of RelBench"),
        ("!!python/object/apply:os.system [ls]", "not YAML"),
    ):
        (folder / "manifest.yaml").write_text(text)
        with pytest.raises(dg.RequestError, match=message):
            dg.build_database(input=folder, out=tmp_path / "store")


def test_columns_that_give_a_label_away_are_warned_of(tmp_path: Path) -> None:
    """A column that equals the label, a key whose absence tells it, and a late column that is not hidden."""
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, 400)
    table = pa.table(
        {
            "order_id": np.arange(400),
            "customer_id": [None if one else "007" for one in label],
            "placed": [shop.day(1 + i % 20) for i in range(400)],
            "amount": label * 2.0 + 1,
            "shipped": [shop.day(22)] * 400,
            "code": np.where(label == 1, "yes", "no"),
            "half": np.where(np.arange(400) % 3 == 0, "p", "q"),
        }
    )
    folder = shop.write_json(tmp_path / "in", {"orders": table})
    described = json.loads((folder / "database.json").read_text())
    described["tables"]["orders"]["columns"] |= {"code": "categorical", "half": "categorical"}
    (folder / "database.json").write_text(json.dumps(described))
    (folder / "tasks").mkdir()
    rows = {
        "order_id": np.arange(400),
        "timestamp": [shop.day(2 + i % 20) for i in range(400)],
        "label": label,
        "split": ["train"] * 300 + ["val"] * 50 + ["test"] * 50,
    }
    pq.write_table(pa.table(rows), folder / "tasks" / "leaky.parquet")
    facts = {
        "entity_table": "orders",
        "entity_key": "order_id",
        "kind": "classification",
        "split": {"by": "time"},
        "hide": {},
    }
    (folder / "tasks.json").write_text(json.dumps({"leaky": facts}))
    database = dg.open_database(str(folder))
    assert task_warnings(database, *dg.load_task(database, "leaky")) == [
        "orders.shipped is known late, and the entity row shows it; hide it (hide_entity)",
        "orders.customer_id: whether it is missing tells the label (100% of the 163 rows without it are positive,"
        " 0% of the others); if it is known only later, hide it",
        "orders.amount alone separates the labels (AUROC 1.000); if it is known only later, hide it",
        "orders.code alone separates the labels (AUROC 1.000); if it is known only later, hide it",
    ]
    facts["hide"] = {"entity_row": ["amount", "customer_id", "shipped", "code"]}
    (folder / "tasks.json").write_text(json.dumps({"leaky": facts}))
    assert task_warnings(database, *dg.load_task(database, "leaky")) == []


@pytest.mark.parametrize("names", [["all"], ["odd", "even"]])
def test_labels_that_alternate_give_nothing_away(names: list[str], tmp_path: Path) -> None:
    """A column that is constant, or that tells odd from even rows, is scored by halves that do not alternate as the labels do."""
    label = np.arange(400) % 4 < 2
    table = pa.table(
        {"order_id": np.arange(400), "customer_id": ["007"] * 400, "placed": [shop.day(1)] * 400,
         "amount": [1.0] * 400, "shipped": [shop.day(2)] * 400, "kind": [names[i % len(names)] for i in range(400)]}
    )  # fmt: skip
    folder = shop.write_json(tmp_path / "in", {"orders": table})
    described = json.loads((folder / "database.json").read_text())
    described["tables"]["orders"]["columns"] |= {"kind": "categorical"}
    (folder / "database.json").write_text(json.dumps(described))
    for order in (np.argsort(label, kind="stable"), np.argsort(np.arange(400) % 2, kind="stable")):
        shuffled = np.arange(400).reshape(2, 200).T.ravel()
        entity = order[shuffled].astype(np.int32)
        rows = TaskRows(entity, np.full(400, shop.micros(3)), label[entity].astype(float), np.zeros(400, np.int8))
        found = task_warnings(dg.open_database(str(folder)), Task("t", "shop", "orders", "order_id", "binary"), rows)
        assert not [line for line in found if "alone separates" in line]


def test_a_number_that_gives_a_number_away_is_warned_of(tmp_path: Path) -> None:
    amount = np.random.default_rng(0).random(30)
    orders = {"order_id": np.arange(30), "customer_id": ["007"] * 30, "placed": [shop.day(1)] * 30, "amount": amount}
    table = pa.table(orders | {"shipped": [shop.day(2)] * 30})
    database = dg.open_database(str(shop.write_json(tmp_path / "in", {"orders": table})))
    rows = TaskRows(np.arange(30, dtype=np.int32), np.full(30, shop.micros(3)), amount**3, np.zeros(30, np.int8))
    found = task_warnings(database, Task("t", "shop", "orders", "order_id", "regression"), rows)
    assert "orders.amount alone separates the labels (AUROC 1.000); if it is known only later, hide it" in found


@pytest.mark.parametrize(
    ("columns", "facts", "message"),
    [
        ({"customer_id": ["007", "?"]}, {}, r"1 rows name entities that 'customers' has not \(row 1: '\?'\)"),
        (
            {"customer_id": ["007", "007"], "timestamp": [shop.day(9)] * 2},
            {},
            "rows 0 and 1 have the same entity and time",
        ),
        ({"label": [1.0, None]}, {}, "row 1 has no label, and is none of test"),
        ({"split": ["train", "dev"]}, {}, "row 1: the split is 'dev'"),
        ({}, {"hide": {"everywhere": ["orders.nothing"]}}, "no column 'nothing'"),
        ({}, {"hide": {"everywhere": ["nowhere.x"]}}, "hides 'nowhere.x'"),
        ({}, {"entity_key": "country"}, "no column 'country'"),
        ({}, {"kind": "ranking"}, "not a task"),
    ],
)
def test_task_tables(columns: Any, facts: Any, message: str, tmp_path: Path) -> None:
    folder = shop.write_json(tmp_path / "in")
    (folder / "tasks").mkdir()
    rows = {
        "customer_id": ["007", "NA"],
        "timestamp": [shop.day(9)] * 2,
        "label": [1.0, 0.0],
        "split": ["train", "val"],
    } | columns
    pq.write_table(pa.table(rows), folder / "tasks" / "a.parquet")
    task = {
        "entity_table": "customers",
        "entity_key": "customer_id",
        "kind": "classification",
        "split": {"by": "time"},
    } | facts
    (folder / "tasks.json").write_text(json.dumps({"a": task}))
    with pytest.raises(dg.RequestError, match=message):
        dg.load_task(dg.open_database(str(folder)), "a")


def test_late_columns_of_other_tables_are_warned_of(tmp_path: Path) -> None:
    folder = shop.write_json(tmp_path / "in")
    database = dg.open_database(str(folder))
    task = Task("t", "shop", "customers", "customer_id", "regression")
    rows = TaskRows(
        np.array([0, 1], np.int32), np.array([shop.micros(4)] * 2), np.array([1.0, 2.0]), np.array([0, 0], np.int8)
    )
    assert task_warnings(database, task, rows) == [LATE]
    assert task_warnings(database, replace(task, hide=(("orders", "shipped"),)), rows) == []
    assert task_warnings(database, replace(task, hide=(("orders", "*"),)), rows) == []


@pytest.mark.parametrize("days", [0, 25])
def test_a_time_that_chooses_entities_by_their_future_is_warned_of(days: int, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    users = "".join(f"{i},{START + timedelta(days=days + i)}\n" for i in range(40))
    orders = "".join(f"{i},{i % 40},{START + timedelta(days=i % 40 + 4 * (i // 40))}\n" for i in range(400))
    (tmp_path / "in" / "users.csv").write_text(f"id,seen\n{users}")
    (tmp_path / "in" / "orders.csv").write_text(f"id,user_id,placed\n{orders}")
    store = str(tmp_path / "store")
    database = dg.build_database(input=tmp_path / "in", out=store, accept_proposal=True)
    assert database.schema.table("users").time == "seen"
    (tmp_path / "t.toml").write_text(
        '[tasks.t]\nentity = "users"\nrule = "exists(orders) within 2 days"\nevery_days = 2\n'
    )
    dg.add_tasks(store, str(tmp_path / "t.toml"))
    told = [one for one in task_warnings(database, *dg.load_task(database, "t")) if "chooses them by the future" in one]
    assert len(told) == (days > 0)
    if told:
        assert "of the rows of users that have earlier rows in orders are not asked about" in told[0]


def test_cut_offs_outside_of_the_data_are_warned_of(tmp_path: Path) -> None:
    folder = shop.write_json(tmp_path / "in")
    (folder / "tasks").mkdir()
    times = [shop.day(2), shop.day(3), shop.day(4)]  # the data are from the 2nd to the 6th
    rows = {"customer_id": ["007"] * 3, "timestamp": times, "label": [0, 1, 2], "split": ["train", "val", "test"]}
    pq.write_table(pa.table(rows), folder / "tasks" / "a.parquet")
    split = {"by": "time", "label_window_days": 2.5}
    task = {"entity_table": "customers", "entity_key": "customer_id", "kind": "regression", "split": split}
    (folder / "tasks.json").write_text(json.dumps({"a": task}))
    database = dg.open_database(str(folder))
    assert task_warnings(database, *dg.load_task(database, "a")) == [
        LATE,
        "a: 1 cut-offs are before the first row of the database: nothing is known there",
        "a: 1 label windows reach past the end of the data",
        *(f"a: all 1 labels of {split} are {label}" for label, split in enumerate(("train", "val", "test"))),
    ]

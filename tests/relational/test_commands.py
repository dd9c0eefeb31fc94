"""The commands ``distgnn database ...``: text, --json, exit codes, pictures; northwind from SQLite."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import distgnn as dg
from distgnn.cli import main
from distgnn.relational.store import verify_database
from tests.helpers.databases import frames, write_database
from tests.relational import shop
from tests.relational.test_real_databases import DATA
from tests.relational.test_sources import check_shop


def run(capsys: pytest.CaptureFixture[str], *words: Any, code: int = 0) -> str:
    assert main(["database", *map(str, words)]) == code
    out, err = capsys.readouterr()
    if code:
        assert err.startswith("distgnn: error: ")
        assert err.count("\n") == 1
    return err if code else out


def test_from_a_file_to_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, store = shop.write_sqlite(tmp_path / "shop.sqlite"), tmp_path / "store"
    assert "2 keys and times are proposed" in run(capsys, "build", "--input", source, "--out", store, code=2)
    built = json.loads(
        run(capsys, "build", "--input", source, "--out", store, "--schema", f"{store}.schema.toml", "--json")
    )
    assert (built["tables"], built["rows"], built["foreign_keys"]) == (2, 9, 1)
    assert [(one["what"], one["count"]) for one in built["findings"]] == [("dangling keys", 1), ("missing keys", 1)]
    assert run(capsys, "verify", store) == f"{store}: no problems\n"
    stat = json.loads(run(capsys, "stat", store, "--json"))
    assert [(one["table"], one["rows"], one["key"]) for one in stat["tables"]] == [
        ("customers", 3, "customer_id"),
        ("orders", 6, "order_id"),
    ]
    assert stat["tables"][1]["time_range"] == ["2024-01-02T12:00:00.000000", "2024-01-06T12:00:00.000000"]
    assert stat["foreign_keys"] == [
        {
            "key": "orders.customer_id->customers",
            "rows": 6,
            "no_parent": 2,
            "most_children": 3,
            "childless": 1,
            "older_than_parent": 0,
        }
    ]
    assert "orders.customer_id->customers: 1 dangling keys (such as 'gone')" in run(capsys, "stat", store)
    tasks = '[tasks.buys]\nentity = "customers"\nrule = "exists(orders) within 1 day"\nstart = "2024-01-03"\nevery_days = 1\n'
    (tmp_path / "tasks.toml").write_text(tasks + 'val_from = "2024-01-04"\ntest_from = "2024-01-05"\n')
    task = json.loads(run(capsys, "tasks", store, "--add", tmp_path / "tasks.toml", "--json"))
    assert (task["task"], task["rows"], task["horizon_days"]) == ("buys", {"train": 3, "val": 3, "test": 3}, 1)
    assert run(capsys, "tasks", store).startswith(
        "buys: binary of customers, 3/3/3 rows (train/val/test), mean label 0.2222: exists"
    )


def test_proposals_that_are_accepted_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = shop.write_csv(tmp_path / "in")
    out = run(capsys, "build", "--input", source, "--out", tmp_path / "store", "--accept-proposal")
    assert "proposed: customers.key: 3 values, unique, none missing" in out
    assert "exclude each other" in run(
        capsys, "build", "--input", source, "--out", tmp_path / "x", "--accept-proposal", "--schema", "s.toml", code=2
    )


def test_automatic_tasks_are_added_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_database(tmp_path / "in", frames(customers=30, orders=400))
    run(capsys, "build", "--input", source, "--out", tmp_path / "store")
    lines = run(capsys, "tasks", tmp_path / "store", "--automatic", 4, "--json").splitlines()
    made = [one for one in map(json.loads, lines) if one["task"] not in ("buys", "order-amount")]
    names = {one["task"]: one["rule"] for one in made}
    assert len(names) == 4
    assert all(name == re.sub(r"[^\w.]+", "-", rule).strip("-.") for name, rule in names.items())
    database = dg.open_database(str(tmp_path / "store"))
    for one in made:
        task, rows = dg.load_task(database, one["task"])
        assert one["rule"]
        assert min(one["rows"].values()) > 0
        bounds = [rows.time[rows.split == split] for split in range(3)]
        if task.horizon:  # no label window of one split reaches into the next
            assert bounds[0].max() + task.horizon <= bounds[1].min()
            assert bounds[1].max() + task.horizon <= bounds[2].min()
        else:
            assert task.hide_entity or task.hide_splits
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "t.csv").write_text("id,x\n1,2\n")
    run(capsys, "build", "--input", tmp_path / "none", "--out", tmp_path / "few", "--accept-proposal")
    assert "no task can be made" in run(capsys, "tasks", tmp_path / "few", "--automatic", 4, code=2)


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_schema_is_drawn(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, picture = shop.write_json(tmp_path / "in"), tmp_path / f"shop.{kind}"
    run(capsys, "stat", folder, "--picture", picture)
    data = picture.read_bytes()
    assert data.startswith({"svg": b"<?xml", "png": b"\x89PNG"}[kind])
    assert "written as .svg or .png" in run(capsys, "stat", folder, "--picture", tmp_path / "shop.gif", code=2)


def test_broken_tasks_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shop.write_json(tmp_path / "in")
    task = {"entity_table": "customers", "entity_key": "customer_id", "kind": "classification", "split": {"by": "time"}}
    (folder / "tasks.json").write_text(json.dumps({"gone": task}))
    assert main(["database", "tasks", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("gone: ")
    assert "gone.parquet: it does not exist" in out
    assert "1 tasks cannot be used" in err


def test_problems_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dg.build_database(input=shop.write_json(tmp_path / "in"), out=tmp_path / "store")
    next((tmp_path / "store").glob("*.arrow")).unlink()
    assert main(["database", "verify", str(tmp_path / "store")]) == 2
    out, err = capsys.readouterr()
    assert "is missing" in out
    assert "1 problems found" in err
    assert "not a database store" in run(capsys, "verify", tmp_path / "in", code=2)
    assert "no database is recognised there" in run(
        capsys, "build", "--input", tmp_path / "none", "--out", tmp_path / "x", code=2
    )


def test_a_store_on_s3(s3: str, tmp_path: Path) -> None:
    uri = f"{s3}/databases/shop"
    check_shop(dg.build_database(input=shop.write_json(tmp_path / "in"), out=uri))
    assert verify_database(uri) == []


def write_northwind(path: Path) -> Path:
    """Write shared/data's northwind as SQLite, with keys declared as in its database.json."""
    assert DATA is not None
    facts = json.loads((DATA / "northwind/database.json").read_text())["tables"]
    with closing(sqlite3.connect(path)) as connection, connection:
        for name, table in facts.items():
            data = pq.read_table(DATA / f"northwind/{name}.parquet")
            columns = [
                f'"{one.name}" {"TEXT" if str(one.type)[0] in "lst" else "REAL" if one.type == "double" else "INTEGER"}'
                for one in data.schema
            ]
            keys = [f"FOREIGN KEY ({column}) REFERENCES {parent}" for column, parent in table["foreign_keys"].items()]
            primary = f"PRIMARY KEY ({table['primary_key']})"
            connection.execute(f"CREATE TABLE {name} ({', '.join([*columns, primary, *keys])})")
            rows = zip(
                *(
                    [None if v is None else str(v) if hasattr(v, "year") else v for v in c.to_pylist()]
                    for c in data.columns
                ),
                strict=True,
            )
            connection.executemany(f"INSERT INTO {name} VALUES ({','.join('?' * len(columns))})", rows)
    return path


@pytest.mark.skipif(DATA is None, reason="shared/data/databases is not here")
def test_northwind_from_sqlite_is_northwind(tmp_path: Path) -> None:
    assert DATA is not None
    source = write_northwind(tmp_path / "northwind.sqlite")
    expected = dg.open_database(str(DATA / "northwind"))
    with pytest.raises(dg.RequestError, match="4 keys and times are proposed"):
        dg.build_database(input=source, out=tmp_path / "store")
    schema = tmp_path / "store.schema.toml"
    schema.write_text(schema.read_text().replace('time = "hire_date"', "# employees are visible always"))
    found = dg.build_database(input=source, out=tmp_path / "store", schema=schema)
    assert set(found.schema.foreign_keys) == set(expected.schema.foreign_keys)
    for key in expected.schema.foreign_keys:
        np.testing.assert_array_equal(found.parent(key), expected.parent(key))
        np.testing.assert_array_equal(found.children(key).rows, expected.children(key).rows)
    for table in ("orders", "order_details"):
        np.testing.assert_array_equal(np.asarray(found.time(table)), np.asarray(expected.time(table)))
    np.testing.assert_array_equal(found.numbers("orders", "freight"), expected.numbers("orders", "freight"))

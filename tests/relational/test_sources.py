"""Every source gives the same database; keys, times and kinds are declared, or proposed and confirmed."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import distgnn as dg
from distgnn.cli import main
from distgnn.relational.database import Database
from distgnn.relational.encode import UNKNOWN
from distgnn.relational.manifest import read_manifest
from distgnn.relational.schema import ForeignKey, Kind, Unit
from distgnn.relational.schema_file import read_schema
from distgnn.relational.store import verify_database
from distgnn.storage.folder import open_folder
from tests.relational import shop

LINK = ForeignKey("orders", "customer_id", "customers")


def findings(out: Path) -> list[str]:
    return [one.line() for one in read_manifest(open_folder(str(out))).findings]


def check_shop(database: Database) -> None:
    """Compare every value with the rows of the shop."""
    assert database.keys("customers").to_pylist() == ["007", "1e5", "NA"]
    assert [str(key) for key in database.keys("orders").to_pylist()] == [
        "10",
        "11",
        "12",
        "13",
        "14",
        "15",
    ]  # text in CSV
    assert database.parent(LINK).tolist() == shop.PARENTS
    children = database.children(LINK)
    assert [
        children.rows[a:b].tolist() for a, b in zip(children.indptr[:-1], children.indptr[1:], strict=True)
    ] == shop.CHILDREN
    np.testing.assert_array_equal(database.numbers("orders", "amount"), [1.5, 2, np.nan, 4, 5, 6])
    time = database.time("orders")
    assert time is not None
    assert time.tolist() == [shop.micros(number) for number in (5, 2, 3, 4, 6, 3)]
    assert database.times("orders", "shipped").tolist()[:2] == [shop.micros(7), UNKNOWN]
    assert database.text("customers", "note").to_pylist() == ["first", "second one", "käse"]
    assert database.time("customers") is None
    assert database.rows("orders") == 6


WRITERS = {
    "json": shop.write_json,
    "csv": shop.write_csv,
    "parquet": shop.write_parquet,
    "relbench": shop.write_relbench,
}
FILES = {"sqlite": shop.write_sqlite, "duckdb": shop.write_duckdb}


@pytest.mark.parametrize("kind", [*WRITERS, *FILES])
def test_every_source_gives_the_same_database(kind: str, tmp_path: Path) -> None:
    source, schema = tmp_path / f"shop.{kind}", tmp_path / "schema.toml"
    (WRITERS | FILES)[kind](source)
    schema.write_text(shop.SCHEMA)
    database = dg.build_database(input=source, out=tmp_path / "store", schema=schema)
    check_shop(database)
    assert database.codes("customers", "country").tolist() == [0, 0, -1]
    assert database.categories("customers", "country") == ["fr"]
    known = database.known("orders", "shipped")
    assert known is not None
    assert known.tolist()[:2] == [shop.micros(7), np.iinfo(np.int64).max]


def test_a_store_and_a_folder_in_memory_hold_the_same(tmp_path: Path) -> None:
    folder = shop.write_json(tmp_path / "shop")
    memory, stored = dg.open_database(str(folder)), dg.build_database(input=folder, out=tmp_path / "store")
    assert memory.schema == stored.schema
    check_shop(memory)
    check_shop(stored)
    for kind in ("rows", "indptr"):
        np.testing.assert_array_equal(getattr(memory.children(LINK), kind), getattr(stored.children(LINK), kind))
    assert memory.schema.column("orders", "shipped").late
    assert memory.known("orders", "shipped") is None  # database.json says in words when
    assert findings(tmp_path / "store") == [
        "orders.customer_id->customers: 1 dangling keys (such as 'gone')",
        "orders.customer_id->customers: 1 missing keys",
    ]


def test_declared_keys_are_taken_and_a_time_column_is_proposed(tmp_path: Path) -> None:
    source = shop.write_sqlite(tmp_path / "shop.sqlite")
    with pytest.raises(
        dg.RequestError, match=r"2 keys and times are proposed, none is taken unseen; check .*store\.schema\.toml"
    ):
        dg.build_database(input=source, out=tmp_path / "store")
    draft = tmp_path / "store.schema.toml"
    assert 'time = "placed"  # proposed: a time column with 0 missing values; others: shipped' in draft.read_text()
    shipped = 'shipped = { kind = "time", late = true, known_at = "shipped" }  # proposed: later than placed in 100% of'
    assert shipped in draft.read_text()
    assert read_schema(str(draft)).foreign_keys == (LINK,)
    with pytest.raises(dg.RequestError, match="this schema file exists"):
        dg.build_database(input=source, out=tmp_path / "store")
    check_shop(dg.build_database(input=source, out=tmp_path / "store", schema=draft))
    assert not (tmp_path / "store" / "_build.json").exists()


def test_what_no_source_declares_is_proposed_with_figures(tmp_path: Path) -> None:
    source = shop.write_csv(tmp_path / "shop")
    with pytest.raises(dg.RequestError, match="5 keys and times are proposed"):
        dg.build_database(input=source, out=tmp_path / "store", schema=tmp_path / "mine.toml")
    text = (tmp_path / "mine.toml").read_text()
    assert 'key = "customer_id"  # proposed: 3 values, unique, none missing' in text
    assert 'customer_id = "customers"  # proposed: 2 of 3 distinct values are keys of customers' in text
    database = dg.build_database(input=source, out=tmp_path / "store", accept_proposal=True)
    assert database.parent(LINK).tolist() == shop.PARENTS
    assert set(read_manifest(open_folder(str(tmp_path / "store"))).proposed) == {
        "customers.key",
        "orders.key",
        "orders.customer_id",
        "orders.time",
        "orders.shipped",
    }


def test_keys_declared_nowhere_are_possible_but_not_taken(tmp_path: Path) -> None:
    source = shop.write_parquet(
        tmp_path / "shop", {"visits": pa.table({"visit_id": [1, 2], "who": ["007", "NA"], "rank": [10, 11]})}
    )
    with pytest.raises(dg.RequestError, match="proposed"):
        dg.build_database(input=source, out=tmp_path / "store")
    text = (tmp_path / "store.schema.toml").read_text()
    assert '# who = "customers"  # possible: 2 of 2 distinct values are keys of customers' in text
    assert "rank = " in text
    assert '# rank = "orders"' not in text  # small integers are keys of anything


def test_relbench_brings_its_tasks(tmp_path: Path) -> None:
    database = dg.build_database(input=shop.write_relbench(tmp_path / "shop"), out=tmp_path / "store")
    task, rows = dg.load_task(database, "buys")
    assert (task.table, task.kind, task.horizon, task.hide) == (
        "customers",
        "binary",
        2 * shop.DAY,
        (("orders", "shipped"),),
    )
    assert rows.entity.tolist() == [0, 1] * 3
    assert rows.time.tolist() == [shop.micros(3)] * 2 + [shop.micros(4)] * 2 + [shop.micros(5)] * 2
    assert rows.label.tolist() == [1, 0] * 3
    assert rows.split.tolist() == [0, 0, 1, 1, 2, 2]
    assert "left out: task 'links': tasks of type 'recommendation' are not supported" in findings(tmp_path / "store")


def test_composite_keys_are_read_and_keys_to_other_columns_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(
            "CREATE TABLE a (x INTEGER, y INTEGER, code TEXT UNIQUE, z TEXT, PRIMARY KEY (x, y));"
            "CREATE TABLE d (p TEXT, q TEXT, PRIMARY KEY (q, p)); INSERT INTO d VALUES ('a|b', 'c'), ('a', 'b|c');"
            "CREATE TABLE c (k INTEGER PRIMARY KEY, n TEXT UNIQUE, up INTEGER REFERENCES c, photo BLOB);"
            "CREATE TABLE b (i INTEGER PRIMARY KEY, x INTEGER, y INTEGER, n TEXT REFERENCES c(n),"
            " FOREIGN KEY (x, y) REFERENCES A(Y, X)); CREATE VIEW v AS SELECT * FROM b;"
            "INSERT INTO c VALUES (1, 'a', 2, x'00'), (2, 'b', 1, NULL);"
            "INSERT INTO a VALUES (1, 2, 'u', NULL), (2, 1, 'v', 'p|q'); "
            "INSERT INTO b VALUES (1, 2, 1, 'a'), (2, 1, 2, 'b'), (3, 1, NULL, 'a');"
        )
    database = dg.build_database(input=path, out=tmp_path / "store")
    lines = findings(tmp_path / "store")
    assert database.keys("a").to_pylist() == ["1|2", "2|1"]
    assert database.parent(ForeignKey("b", "y+x", "a")).tolist() == [0, 1, -1]
    assert database.keys("d").to_pylist() == ["c|a\\|b", "b\\|c|a"]
    assert "left out: b.n->c: it refers to n, not to the primary key" in lines
    assert "left out: c.photo: bytes or nested values are not read" in lines
    assert database.parent(ForeignKey("c", "up", "c")).tolist() == [1, 0]  # a cycle
    assert [table.name for table in database.schema.tables] == ["a", "b", "c", "d"]


def write_stores(folder: Path) -> Path:
    """Stores with a key of two columns as CSV, and sales that refer to them as Parquet, where the chain is an integer."""
    folder.mkdir()
    stores = "".join(f"{chain},{'|'[: chain % 2]}{store},{chain}{store}\n" for chain in range(5) for store in range(4))
    (folder / "stores.csv").write_text(f"chain,store,size\n{stores}")
    chain, store = np.arange(90) % 5, np.arange(90) // 5 % 4
    names = [f"{'|'[: c % 2]}{s}" for c, s in zip(chain, store, strict=True)]
    days = [f"2024-01-{1 + i % 28:02}" for i in range(90)]
    pq.write_table(pa.table({"day": days, "chain": chain, "store": names}), folder / "sales.parquet")
    return folder


def test_keys_of_two_columns_are_proposed_and_built(tmp_path: Path) -> None:
    text = draft_of(write_stores(tmp_path / "in"))
    assert 'key = "chain+store"  # proposed: 20 pairs, unique, none missing' in text
    assert '"chain+store" = "stores"  # proposed: 20 of 20 distinct pairs are keys of stores' in text
    schema = tmp_path / "schema.toml"
    schema.write_text(text)
    link = ForeignKey("sales", "chain+store", "stores")
    ways: tuple[dict[str, Any], ...] = ({"schema": schema}, {"accept_proposal": True})
    for options in ways:
        database = dg.build_database(input=tmp_path / "in", out=tmp_path / "store", overwrite=True, **options)
        assert database.keys("stores").to_pylist()[:5] == ["0|0", "0|1", "0|2", "0|3", "1|\\|0"]
        assert database.parent(link)[:6].tolist() == [0, 4, 8, 12, 16, 1]
    schema.write_text(text.replace("chain+store", "chain+shop"))
    with pytest.raises(dg.RequestError, match=r"no readable column 'chain\+shop'"):
        dg.build_database(input=tmp_path / "in", out=tmp_path / "store", overwrite=True, schema=schema)


def test_parents_are_those_that_the_names_of_columns_call(tmp_path: Path) -> None:
    """A film, not the table that shares its key; no count of films; the employee's own table; the categories of items."""
    folder = tmp_path / "in"
    folder.mkdir()
    films, employees = range(1, 41), range(1, 31)
    tables = {
        "films": {"film_id": films, "title": [f"title {n}" for n in films]},
        "film_categories": {"film_id": films, "category": ["drama", "comedy"] * 20},
        "inventory": {"inventory_id": range(100), "film_id": [1 + n % 40 for n in range(100)]},
        "actors": {"actor_id": range(60), "films": [1 + n % 30 for n in range(60)]},
        "employees": {
            "employee_id": employees,
            "reports_to": [1 + n // 4 for n in range(30)],
            "headcount": [1 + n % 9 for n in range(30)],
        },
        "item_categories": {"id": range(1, 9), "name": [f"name {n}" for n in range(8)]},
        "items": {"id": range(50), "category_id": [1 + n % 8 for n in range(50)]},
    }
    for name, columns in tables.items():
        pd.DataFrame(columns).to_csv(folder / f"{name}.csv", index=False)
    database = dg.build_database(input=folder, out=tmp_path / "store", accept_proposal=True)
    assert set(database.schema.foreign_keys) == {
        ForeignKey("film_categories", "film_id", "films"),
        ForeignKey("inventory", "film_id", "films"),
        ForeignKey("employees", "reports_to", "employees"),
        ForeignKey("items", "category_id", "item_categories"),
    }


def test_keys_of_two_columns_in_the_schema_file_of_a_database(tmp_path: Path) -> None:
    """A source that declares no such key, with the columns of the child called otherwise."""
    sql = """CREATE TABLE a (x INTEGER, y TEXT, z REAL); CREATE TABLE b (i INTEGER PRIMARY KEY, ax INTEGER, ay TEXT);
    INSERT INTO a VALUES (1, 'p', .5), (1, 'q', .5); INSERT INTO b VALUES (1, 1, 'q'), (2, 1, NULL), (3, 2, 'p')"""
    schema = tmp_path / "schema.toml"
    schema.write_text("""name = "x"
    [tables.a]
    key = "x+y"
    columns = { "x+y" = "key", z = "number" }
    [tables.b]
    key = "i"
    foreign_keys = { "ax+ay" = "a" }
    columns = { i = "key", "ax+ay" = "key" }""")
    source = write_sqlite(tmp_path / "a.sqlite", sql)
    database = dg.build_database(input=source, out=tmp_path / "store", schema=schema)
    assert database.parent(ForeignKey("b", "ax+ay", "a")).tolist() == [1, -1, -1]


def test_kinds_of_text_columns_are_measured(tmp_path: Path) -> None:
    rows = [
        "few,n,padded,stamp,mixed,at",
        *(f"{'ab'[i % 2]},{i},0{i},2024-01-0{1 + i % 9} 10:00+02:00,{i}x,17000000{i:02}" for i in range(10)),
    ]
    rows += [",?,,?,,1700000099", r",\N,,,,1700000098"]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "t.csv.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    database = dg.build_database(input=tmp_path / "in", out=tmp_path / "store", accept_proposal=True)
    columns = {column.name: column for column in database.schema.table("t").columns}
    kinds = {name: column.kind for name, column in columns.items()}
    assert kinds == {
        "n": Kind.NUMBER, "padded": Kind.TEXT, "stamp": Kind.TIME, "mixed": Kind.TEXT, "few": Kind.CATEGORY, "at": Kind.TIME,
    }  # fmt: skip
    assert columns["n"].nulls == ("?", "\\N")
    assert columns["stamp"].unit is Unit.NONE
    assert database.times("t", "stamp")[0] == 1704096000_000_000  # 08:00 UTC
    np.testing.assert_array_equal(database.numbers("t", "n")[9:], [9, np.nan, np.nan])
    assert database.text("t", "padded")[0].as_py() == "00"


def test_numbers_that_look_like_times_are_a_proposal(tmp_path: Path) -> None:
    shop.write_parquet(
        tmp_path / "in", {"logs": pa.table({"log_id": [1, 2], "created_at": [1_700_000_000_000, 1_700_000_000_001]})}
    )
    database = dg.build_database(input=tmp_path / "in", out=tmp_path / "store", accept_proposal=True)
    assert database.times("logs", "created_at").tolist() == [1_700_000_000_000_000, 1_700_000_000_001_000]
    proposed = read_manifest(open_folder(str(tmp_path / "store"))).proposed
    assert 'unit "ms"' in proposed["logs.created_at"]


def test_encoding_of_csv_files(tmp_path: Path) -> None:
    shop.write_csv(tmp_path / "in")
    file = tmp_path / "in" / "customers.csv"
    file.write_bytes(file.read_text().encode("latin-1"))
    with pytest.raises(dg.RequestError, match=r"not UTF-8 throughout.*give encoding"):
        dg.build_database(input=tmp_path / "in", out=tmp_path / "store", accept_proposal=True)
    database = dg.build_database(
        input=tmp_path / "in", out=tmp_path / "store", accept_proposal=True, encoding="latin-1"
    )
    assert database.text("customers", "note")[2].as_py() == "käse"


def test_source_by_name(tmp_path: Path) -> None:
    shop.write_json(tmp_path / "in")
    with pytest.raises(dg.RequestError, match="keys and times are proposed"):
        dg.build_database(input=tmp_path / "in", out=tmp_path / "store", source="files")
    with pytest.raises(dg.RequestError, match=r"source='sqlit' is unknown.*did you mean 'sqlite'"):
        dg.build_database(input=tmp_path / "in", out=tmp_path / "store", source="sqlit")


def test_odd_names_survive_the_schema_file(tmp_path: Path) -> None:
    odd = ['a "b"; --', "é.ü", "x\ty", "# c", "= 'q'", "tables"]
    path = tmp_path / "odd.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        for number, name in enumerate(odd):
            table, columns = (
                name.replace('"', '""'),
                ", ".join(f'"{one.replace(chr(34), chr(34) * 2)}" TEXT' for one in odd),
            )
            up = f', "up" INTEGER REFERENCES "{odd[0].replace(chr(34), chr(34) * 2)}"' if number else ""
            connection.execute(f'CREATE TABLE "{table}" (k INTEGER PRIMARY KEY, {columns}{up})')
            connection.execute(
                f'INSERT INTO "{table}" (k{", up" if number else ""}) VALUES (1{", 1" if number else ""})'
            )
    with pytest.raises(dg.RequestError, match="its kinds are measured"):
        dg.build_database(input=path, out=tmp_path / "store", schema=tmp_path / "s.toml")
    first = dg.build_database(input=path, out=tmp_path / "store", schema=tmp_path / "s.toml")
    again = dg.build_database(input=path, out=tmp_path / "again")
    assert first.schema == again.schema
    assert {table.name for table in first.schema.tables} == set(odd)
    assert first.parent(ForeignKey("é.ü", "up", odd[0])).tolist() == [0]


SOURCE = '''
import pyarrow as pa
import distgnn
from distgnn.relational.sources.base import Declared


@distgnn.register.database_source("counting")
class Counting:
    """Numbers up to the one in the URI."""

    def __init__(self, source):
        self.uri, self.name = source.uri, "counting"

    @staticmethod
    def recognises(uri):
        return uri.startswith("count:")

    def tables(self):
        return ("numbers",)

    def types(self, table):
        return pa.schema([("n", pa.int64())])

    def batches(self, table):
        yield pa.record_batch([pa.array(range(int(self.uri.partition(":")[2])))], schema=self.types(table))

    def declared(self, table):
        return Declared(key="n", keys=True, times=True)

    def schema(self):
        return None

    def fingerprint(self):
        return [self.uri]
'''


def test_a_source_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_counting_source.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    database = dg.build_database(input="count:3", out=tmp_path / "store", imports="my_counting_source")
    assert database.keys("numbers").to_pylist() == [0, 1, 2]


def write_sqlite(path: Path, sql: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(sql)
    return path


def draft_of(source: Path) -> str:
    """The draft of the schema of a source."""
    out = source.parent / "drafted"
    with pytest.raises(dg.RequestError, match="proposed"):
        dg.build_database(input=source, out=out)
    return Path(f"{out}.schema.toml").read_text()


def test_a_time_that_means_something_else_is_the_last_choice(tmp_path: Path) -> None:
    sql = """CREATE TABLE people (id INTEGER PRIMARY KEY, Geburtsdatum TEXT, joined TEXT, seen TEXT);
    INSERT INTO people VALUES (1, '1980-01-01', '2024-01-02', '2024-01-02'), (2, '1990-01-01', NULL, NULL), (3, '1970-01-01',
    '2024-01-03', NULL), (4, '1971-01-01', '2024-01-03', NULL)"""
    assert 'time = "joined"  # proposed: a time column with 1 missing' in draft_of(
        write_sqlite(tmp_path / "a.sqlite", sql)
    )


def test_last_updates_and_births_are_no_times_of_entities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = """CREATE TABLE people (id INTEGER PRIMARY KEY, birth_date TEXT, lastLogin TEXT, deleted_at TEXT);
    CREATE TABLE visits (id INTEGER PRIMARY KEY, person INT REFERENCES people, last_update TEXT, due TEXT);
    CREATE TABLE tags (id INTEGER PRIMARY KEY, person INT REFERENCES people, last_update TEXT);
    CREATE TABLE notes (id INTEGER PRIMARY KEY, person INT REFERENCES people, last_update TEXT);"""
    for i in range(20):
        sql += f"""INSERT INTO people VALUES ({i}, '1980-01-{i + 1:02}', '2024-01-{i + 1:02}', NULL);
        INSERT INTO visits VALUES ({i}, {i}, '2024-01-{i + 1:02}', '2024-01-{i + 1:02}');
        INSERT INTO tags VALUES ({i}, {i}, '2024-01-01'); INSERT INTO notes VALUES ({i}, {i}, '2024-01-{i + 1:02}');"""
    text = draft_of(
        write_sqlite(tmp_path / "a.sqlite", sql + "UPDATE people SET deleted_at = '2024-02-01' WHERE id = 3")
    )
    tables = {part.partition("]")[0]: part for part in text.split("[tables.")}
    assert 'time = ""  # proposed: birth_date, lastLogin, deleted_at: no time at which a row became' in tables["people"]
    assert '\n# lastLogin = "time"  # left out: overwritten later' in tables["people.columns"]
    assert '\nbirth_date = "time"\n' in tables["people.columns"]
    assert 'deleted_at = { kind = "time", late = true, known_at = "deleted_at" }' in tables["people.columns"]
    assert 'time = "due"' in tables["visits"]
    assert 'time = ""' in tables["tags"]  # of one import
    assert (
        'time = "last_update"  # proposed: a time column with 0 missing values; by its name it is over'
        in tables["notes"]
    )
    assert (
        main(["database", "build", "--input", f"{tmp_path}/a.sqlite", "--out", f"{tmp_path}/s", "--accept-proposal"])
        == 0
    )
    assert "left out: people.lastLogin: overwritten later" in capsys.readouterr().out


def test_times_that_are_written_as_missing_count(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rows = "".join(f"{i},{'0000-00-00' if i % 2 else '2024-01-01'},2024-01-02\n" for i in range(60))
    (tmp_path / "in" / "t.csv").write_text(f"id,opened,seen\n{rows}")
    assert 'time = "seen"  # proposed: a time column with 0 missing values; others: opened' in draft_of(tmp_path / "in")


def test_parents_are_suggested_where_the_source_declares_other_keys(tmp_path: Path) -> None:
    sql = """CREATE TABLE a (id INTEGER PRIMARY KEY, at TEXT); CREATE TABLE shop (id INTEGER PRIMARY KEY);
    CREATE TABLE c (id INTEGER PRIMARY KEY, a INT REFERENCES a, shop_id INT);
    INSERT INTO a VALUES (1, '2024-01-01'); INSERT INTO shop VALUES (7); INSERT INTO c VALUES (1, 1, 7)"""
    text = draft_of(write_sqlite(tmp_path / "a.sqlite", sql))
    assert '# shop_id = "shop"  # possible: 1 of 1 distinct values are keys of shop' in text
    assert 'shop_id = "number"' in text


def test_keys_are_text_in_one_file_and_numbers_in_the_other(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "kunden.csv").write_text("KundenNr;Ort\n1;Ulm\n2;Bonn\n")
    pq.write_table(pa.table({"visit": ["a", "b", "c"], "Kunde": [1, 2, 2]}), tmp_path / "in" / "visits.parquet")
    text = draft_of(tmp_path / "in")
    assert 'Kunde = "kunden"  # proposed: 2 of 2 distinct values are keys of kunden' in text


def test_keys_that_do_not_fit_are_told_with_examples(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "customers.csv").write_text("customer_id,town\n0001,Ulm\n0002,Bonn\n")
    (tmp_path / "in" / "orders.csv").write_text("order_id,customer_id\n7,1\n8,2\n")
    told = "# no table was found for customer_id: by its name of customers, but only 0 of 2 distinct values are keys of customers"
    assert f"{told} (such as '1' and '0001')" in draft_of(tmp_path / "in")


def test_drafts_name_no_links_by_chance(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    people = "".join(f"{i},{i // 3},{i // 2},name{i},{i // 9 * 300}\n" for i in range(60))
    (tmp_path / "in" / "people.csv").write_text(f"person_id,boss,rooms,name,people_no\n{people}")
    visits = "".join(f"{i},{i % 60},{i % 7},u{i % 5},name{i % 5}\n" for i in range(200))
    (tmp_path / "in" / "visits.csv").write_text(f"visit_id,person_id,hours,uid,name\n{visits}")
    (tmp_path / "in" / "names.csv").write_text("name\n" + "".join(f"name{i}\n" for i in range(60)))
    text = draft_of(tmp_path / "in")
    assert '\nperson_id = "people"  # proposed: 60 of 60 distinct values are keys of people' in text
    assert '\n# boss = "people"  # possible: 20 of 20 distinct values are keys of people' in text  # not of visits
    assert '\n# people_no = "people"  # possible: by its name, but only 1 of 7' in text
    assert "\n# no table was found for uid\n" in text
    assert not [line for line in text.splitlines() if line.startswith(("# hours", "# rooms", "# person_id"))]
    assert '# name = "names"' not in text  # it is proposed


def test_a_schema_file_that_is_not_there_is_drafted_for_every_source(tmp_path: Path) -> None:
    source = shop.write_json(tmp_path / "shop")
    with pytest.raises(dg.RequestError, match=r"its kinds are measured.*check .*typo\.toml"):
        dg.build_database(input=source, out=tmp_path / "store", schema=tmp_path / "typo.toml")
    assert 'shipped = { kind = "time", late = true }' in (tmp_path / "typo.toml").read_text()
    check_shop(dg.build_database(input=source, out=tmp_path / "store", schema=tmp_path / "typo.toml"))


def test_a_store_is_replaced_only_once_its_schema_is_confirmed(tmp_path: Path) -> None:
    source, out = shop.write_sqlite(tmp_path / "shop.sqlite"), tmp_path / "store"
    dg.build_database(input=source, out=out, accept_proposal=True)
    with pytest.raises(dg.RequestError, match="none is taken unseen"):
        dg.build_database(input=source, out=out, schema=tmp_path / "typo.toml", overwrite=True)
    check_shop(dg.open_database(str(out)))
    assert verify_database(str(out)) == []
    check_shop(dg.build_database(input=source, out=out, schema=tmp_path / "typo.toml", overwrite=True))
    assert verify_database(str(out)) == []

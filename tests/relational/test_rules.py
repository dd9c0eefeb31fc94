"""Tasks from rules and tables: labels against a plain loop, half-open windows, splits, what is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import distgnn as dg
from distgnn.errors import RequestError
from distgnn.relational.database import Database
from distgnn.relational.labels import TaskSpec, labels_of_rule, moment
from distgnn.relational.rules import parse_rule, path_to
from distgnn.relational.schema import Column, ForeignKey, Kind, Schema, Table
from distgnn.relational.store import open_database, verify_database
from distgnn.relational.task_files import make_task
from distgnn.relational.tasks import ALWAYS, HiddenInSplits, Task, TaskRows
from tests.relational import shop

DAY = shop.DAY
START = moment("2024-01-01", "")
K, N, C, T = Kind.KEY, Kind.NUMBER, Kind.CATEGORY, Kind.TIME
SCHEMA = Schema(
    "s",
    (
        Table("users", "id", None, (Column("id", K),)),
        Table(
            "orders", "id", "at", (Column("id", K), Column("user", K), Column("at", T), Column("x", N), Column("c", C))
        ),
        Table("lines", None, "at", (Column("order", K), Column("at", T), Column("q", N))),
    ),
    (ForeignKey("orders", "user", "users"), ForeignKey("lines", "order", "orders")),
)


@pytest.fixture(scope="module")
def database() -> Database:
    """Orders and lines at whole days, so that many are exactly on the borders of windows."""
    generator = np.random.default_rng(0)
    users, orders, lines = 5, 300, 600
    user, order = (
        generator.integers(-1, users, orders).astype(np.int32),
        generator.integers(0, orders, lines).astype(np.int32),
    )
    at, at_lines = START + generator.integers(0, 40, orders) * DAY, START + generator.integers(0, 40, lines) * DAY
    x = np.where(generator.random(orders) < 0.2, np.nan, generator.integers(-3, 4, orders))
    arrays = {
        ("users", "id", ""): pa.array(range(users)),
        ("orders", "id", ""): pa.array(range(orders)),
        ("orders", "user", ""): pa.array(user.astype(np.int64)),
        ("orders", "at", ""): pa.array(at),
        ("orders", "x", ""): pa.array(x),
        ("orders", "c", ""): pa.array(generator.integers(-1, 2, orders).astype(np.int32)),
        ("orders", "c", "categories"): pa.array(["a", "b"]),
        ("orders", "user", "parent"): pa.array(user),
        ("lines", "order", ""): pa.array(order.astype(np.int64)),
        ("lines", "at", ""): pa.array(at_lines),
        ("lines", "q", ""): pa.array(generator.integers(0, 9, lines).astype(float)),
        ("lines", "order", "parent"): pa.array(order),
    }
    return Database(SCHEMA, {"users": users, "orders": orders, "lines": lines}, arrays, "s")


def looped(
    database: Database, function: Callable[[np.ndarray], Any], days: int, **facts: Any
) -> dict[tuple[int, int], float]:
    """Labels by a plain loop; ``function`` takes the rows of orders in the window, sorted by (time, row)."""
    at, user = database.time("orders"), database.parent(SCHEMA.foreign_keys[0])
    assert at is not None
    order = np.argsort(at, kind="stable")
    good = np.ones(len(at), bool) if "keep" not in facts else facts["keep"]
    expected = {}
    for cut in START + np.arange(1 + 3, 40, 3) * DAY:
        if cut + days * DAY <= at.max() + 1:
            for one in range(5):
                rows = [
                    r
                    for r in order
                    if user[r] == one and cut <= at[r] < (cut + days * DAY if days else 1 << 62) and good[r]
                ]
                value = function(np.array(rows, int))
                if value is not None:
                    expected[one, int(cut)] = float(value)
    return expected


def found(database: Database, rule: str, **facts: Any) -> dict[tuple[int, int], float]:
    spec = TaskSpec("users", rule, every_days=3, **facts)
    result = labels_of_rule(database, spec, "here")[1]
    return {(int(e), int(t)): float(v) for e, t, v in zip(result.entity, result.time, result.label, strict=True)}


def valid(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rows: x[rows][~np.isnan(x[rows])]


def test_functions_agree_with_a_plain_loop(database: Database) -> None:
    x, codes = database.numbers("orders", "x"), database.codes("orders", "c")
    some = valid(x)
    cases: dict[str, tuple[Callable[[np.ndarray], Any], int]] = {
        "count(orders) within 2 days": (len, 2),
        "exists(orders) within 1 day": (lambda r: len(r) > 0, 1),
        "COUNT(orders) >= 4 WITHIN 1 week": (lambda r: len(r) >= 4, 7),
        "sum(orders.x) within 2 days": (lambda r: some(r).sum(), 2),
        "mean(orders.x) within 2 days": (lambda r: some(r).mean() if len(some(r)) else None, 2),
        "min(orders.x) within 2 days": (lambda r: some(r).min() if len(some(r)) else None, 2),
        "max(orders.x) > 2 within 2 days": (lambda r: some(r).max() > 2 if len(some(r)) else None, 2),
        "last(orders.x) within 48 hours": (lambda r: some(r)[-1] if len(some(r)) else None, 2),
        "next(orders.x)": (lambda r: some(r)[0] if len(some(r)) else None, 0),
        "next(orders.c) within 2 days": (lambda r: next((codes[i] for i in r if codes[i] >= 0), None), 2),
    }
    for rule, (function, days) in cases.items():
        assert found(database, rule) == looped(database, function, days), rule


def test_filters_agree_with_a_plain_loop(database: Database) -> None:
    x, codes, at = database.numbers("orders", "x"), database.codes("orders", "c"), database.time("orders")
    assert at is not None
    filters = {
        "x > 0": x > 0,
        "x is null": np.isnan(x),
        "x is not null and c = 'a'": ~np.isnan(x) & (codes == 0),
        "c != 'a'": codes == 1,
        "c in ('a', 'b')": codes >= 0,
        "x IN (-1, 2) and user in (3, '4')": np.isin(x, (-1, 2))
        & np.isin(database.parent(SCHEMA.foreign_keys[0]), (3, 4)),
        "at < '2024-01-20'": at < moment("2024-01-20", ""),
        '"x" <= -1': x <= -1,
    }
    for text, keep in filters.items():
        assert found(database, f"count(orders where {text}) within 3 days") == looped(database, len, 3, keep=keep), text


def test_rows_of_grandchildren(database: Database) -> None:
    """Lines hang on users by their orders; the time is that of the line."""
    at, user, order = (
        database.time("lines"),
        database.parent(SCHEMA.foreign_keys[0]),
        database.parent(SCHEMA.foreign_keys[1]),
    )
    assert at is not None
    quantity = database.numbers("lines", "q")
    for (one, cut), value in found(database, "sum(lines.q) within 5 days").items():
        inside = (user[order] == one) & (at >= cut) & (at < cut + 5 * DAY)
        assert value == quantity[inside].sum()


def test_only_known_entities(database: Database) -> None:
    at, user = database.time("orders"), database.parent(SCHEMA.foreign_keys[0])
    assert at is not None
    first = [at[user == one].min() for one in range(5)]
    everyone = found(database, "count(orders) within 2 days", start="2024-01-01T12:00")
    seen = found(database, "count(orders) within 2 days", start="2024-01-01T12:00", seen="orders")
    assert seen == {(one, cut): value for (one, cut), value in everyone.items() if first[one] < cut}
    assert len(seen) < len(everyone)


def test_own_values_are_labels_at_the_time_of_the_row(database: Database) -> None:
    rule, result = labels_of_rule(database, TaskSpec("orders", "value(orders.x) > 0"), "here")
    x, at = database.numbers("orders", "x"), database.time("orders")
    assert at is not None
    kept = np.flatnonzero(~np.isnan(x))
    np.testing.assert_array_equal(result.entity, kept)
    np.testing.assert_array_equal(result.label, x[kept] > 0)
    np.testing.assert_array_equal(result.time, at[kept])
    assert rule.horizon == 0
    assert result.findings[0].line() == f"here: {np.isnan(x).sum()} rows without a value, left out"


def test_rows_to_predict_whose_labels_are_not_known_yet(database: Database) -> None:
    spec = TaskSpec("users", "exists(orders) within 2 days", every_days=3, seen="orders", ask_at="2024-02-20")
    plain = make_task(database, "t", replace(spec, ask_at=""), "here").task.rows.to_pylist()
    rows = make_task(database, "t", spec, "here").task.rows.to_pylist()
    assert rows[: len(plain)] == plain
    asked = rows[len(plain) :]
    assert [(row["id"], row["label"], row["split"]) for row in asked] == [(user, None, "test") for user in range(5)]
    assert {str(row["timestamp"]) for row in asked} == {"2024-02-20 00:00:00"}
    with pytest.raises(dg.RequestError, match="ask_at is not after the last cut-off with labels"):
        make_task(database, "t", replace(spec, ask_at="2024-01-20"), "here")


def test_tables_of_other_schemas_need_no_quotes() -> None:
    columns = (Column("id", K), Column("user", K), Column("at", T), Column("x", N))
    tables = (Table("a.users", "id", None, (Column("id", K),)), Table("b.orders", "id", "at", columns))
    schema = Schema("s", tables, (ForeignKey("b.orders", "user", "a.users"),))
    for text, column in {"count(b.orders)": "", "sum(b.orders.x where x > 0)": "x", 'max("b.orders".x)': "x"}.items():
        rule = parse_rule(f"{text} within 3 days", schema)
        assert (rule.table, rule.column) == ("b.orders", column)
    with pytest.raises(dg.RequestError, match="count takes a table"):
        parse_rule("count(b.orders.x) within 3 days", schema)


def test_whether_it_is_the_second_of_two_classes(database: Database) -> None:
    task = make_task(database, "t", TaskSpec("users", "next(orders.c)", every_days=3), "here").task
    assert (task.facts["kind"], task.facts["classes"]) == ("binary", ["a", "b"])
    assert set(task.rows["label"].to_pylist()) == {0, 1}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("", "expected a function, found the end"),
        ("count(orders)", "count needs a window"),
        ("count(orders) within 0 days", "must be longer than 0"),
        ("count(orders.x) within 3 days", "count takes a table"),
        ("sum(orders) within 3 days", "takes a table and a column"),
        ("sum(orders.c) within 3 days", "is of kind category; the rule needs a number"),
        ("median(orders.x) within 3 days", "expected a function, found 'median'"),
        ("count(orders where x ~ 3) within 3 days", "' ~ 3"),
        ("count(orders where x > y) within 3 days", "expected a number or 'text', found 'y'"),
        ("count(orders where y > 3) within 3 days", "no column 'y'"),
        ("count(users) within 3 days", "has no time column"),
        ("count(orders) within 3 years", "expected hours, days or weeks"),
        ("count(orders) within 3 days; drop table x", "is not understood"),
        ("count(orders) within 3 days extra", "'extra' is left over"),
        ("count(orders where c > 3) within 3 days", "orders.c is of kind category; it is the same as a value or not"),
        (
            "count(orders where x = 'a') within 3 days",
            "orders.x is of kind number; compare it with a number, not with 'a'",
        ),
        (
            "count(orders where at > 'gestern') within 3 days",
            "compare it with a date such as '2024-01-31', not with 'gestern'",
        ),
        ("count(orders where at > 3) within 3 days", "compare it with a date"),
        ("count(orders where c = 'z') within 3 days", "rule on 'orders': c is never 'z'; its values are a, b"),
        ("count(orders where user = 'z') within 3 days", "rule on 'orders': Conversion Error"),
        ("count(orders where x in 3) within 3 days", "expected '(', found '3'"),
        ("count(order-lines) within 3 days", 'a name with other letters is quoted: "order-lines"'),
        ("avg(orders.x) within 3 days", "found 'avg' (it is called mean)"),
        ("count(orders) within 50 days", "no label window ends before the end"),
    ],
)
def test_wrong_rules(rule: str, message: str, database: Database) -> None:
    with pytest.raises(dg.RequestError) as error:
        labels_of_rule(database, TaskSpec("users", rule), "here")
    assert message in str(error.value)
    assert "LINE" not in str(error.value)


def test_start_before_the_data(database: Database) -> None:
    with pytest.raises(dg.RequestError, match="the first cut-off is not after the first row"):
        found(database, "count(orders) within 2 days", start="2023-01-01")


def test_ways_to_the_entity() -> None:
    match = Table("games", "id", "at", (Column("id", K), Column("home", K), Column("away", K), Column("at", T)))
    team = Table("teams", "id", None, (Column("id", K),))
    schema = Schema("s", (team, match), (ForeignKey("games", "home", "teams"), ForeignKey("games", "away", "teams")))
    with pytest.raises(dg.RequestError, match=r"in several ways \(home, away\); add: via COLUMN"):
        path_to("teams", parse_rule("count(games) within 3 days", schema), schema)
    assert path_to("teams", parse_rule("count(games) within 3 days via away", schema), schema) == (
        schema.foreign_keys[1],
    )
    with pytest.raises(dg.RequestError, match="no foreign keys lead from 'games' to 'games'"):
        path_to("games", parse_rule("count(games) within 3 days", schema), schema)


TASKS = """
[tasks.buys]
entity = "customers"
rule = "exists(orders) within 24 hours"
start = "2024-01-03"
every_days = 1
val_from = "2024-01-05"
test_from = "2024-01-06"
hide = ["orders.shipped"]
[tasks.amount]
entity = "orders"
rule = "value(orders.amount)"
hide_entity = ["shipped"]
[tasks.labelled]
entity = "customers"
table = "labels.csv"
val_from = "2024-01-04"
test_from = "2024-01-05"
"""
LABELS = """who,at,y
007,2024-01-03,1
1e5,2024-01-03,0
007,2024-01-03,0
nobody,2024-01-03,1
NA,2024-01-04,
NA,2024-01-04T12:00:00,1
NA,2024-01-06,0
"""


def test_tasks_are_added_to_a_store(tmp_path: Path) -> None:
    dg.build_database(input=shop.write_json(tmp_path / "in"), out=tmp_path / "store")
    (tmp_path / "tasks.toml").write_text(TASKS)
    (tmp_path / "labels.csv").write_text(LABELS)
    left_out = dg.add_tasks(str(tmp_path / "store"), str(tmp_path / "tasks.toml"))
    database = open_database(str(tmp_path / "store"))
    task, rows = dg.load_task(database, "buys")
    assert (task.kind, task.horizon, task.hide) == ("binary", DAY, (("orders", "shipped"),))
    days = [int((one - moment("2024-01-01", "")) // DAY) + 1 for one in rows.time]
    # Orders with a known customer: 007 on the 3rd (twice) and 5th, 1e5 on the 2nd, at noon. Data end on the 6th at noon.
    assert days == [3] * 3 + [4] * 3 + [5] * 3
    assert rows.label.tolist() == [1, 0, 0, 0, 0, 0, 1, 0, 0]
    assert rows.split.tolist() == [0] * 6 + [1] * 3
    own, _ = dg.load_task(database, "amount")
    assert (own.kind, own.hide_entity) == ("regression", ("amount", "shipped"))
    _, labelled = dg.load_task(database, "labelled")
    assert labelled.entity.tolist() == [0, 1, 2, 2]
    assert labelled.label.tolist() == [1, 0, 1, 0]
    assert labelled.split.tolist() == [0, 0, 1, 2]
    assert [(one.count, one.example) for one in left_out["labelled"]] == [(1, "nobody"), (1, ""), (1, "")]


def test_values_of_rows_without_a_time_are_split_at_random(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rows = "".join(f"{i},{'NY'[i % 3 == 0]},{i % 50}\n" for i in range(200))
    (tmp_path / "in" / "people.csv").write_text(f"id,active,town\n{rows}")
    store = str(tmp_path / "store")
    dg.build_database(input=tmp_path / "in", out=store, accept_proposal=True)
    (tmp_path / "t.toml").write_text('[tasks.t]\nentity = "people"\nrule = "value(people.active)"\n')
    told = dg.add_tasks(store, str(tmp_path / "t.toml"))["t"]
    task, rows = dg.load_task(open_database(store), "t")
    assert (task.kind, task.classes, task.hide_entity) == ("binary", ("N", "Y"), ("active",))
    assert task.hide_splits == HiddenInSplits((("people", "active"),), ("val", "test"))
    assert (rows.time == ALWAYS).all()
    assert rows.label.tolist() == [float(i % 3 == 0) for i in range(200)]
    assert [int((rows.split == one).sum()) > 15 for one in range(3)] == [True] * 3
    assert "200 rows have no time: split at random by their entities, nothing in time is checked" in told[0].line()
    (tmp_path / "t.toml").write_text(
        '[tasks.t]\nentity = "people"\nrule = "value(people.active)"\nval_from = "2024-01-01"\n'
    )
    with pytest.raises(dg.RequestError, match="val_from and test_from need times"):
        dg.add_tasks(store, str(tmp_path / "t.toml"))


def labelled(tmp_path: Path, table: str, more: str = "") -> tuple[Task, TaskRows, list[str]]:
    """The task of a table of labels of 120 people, its rows, and what is said of it."""
    store = str(tmp_path / "store")
    if not (tmp_path / "in").exists():
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "people.csv").write_text("id,town\n" + "".join(f"{i},{i % 9}\n" for i in range(120)))
        dg.build_database(input=tmp_path / "in", out=store, accept_proposal=True)
    (tmp_path / "labels.csv").write_text(table)
    (tmp_path / "t.toml").write_text(f'[tasks.t]\nentity = "people"\ntable = "labels.csv"\n{more}')
    told = dg.add_tasks(store, str(tmp_path / "t.toml"))["t"]
    return *dg.load_task(open_database(store), "t"), [one.line() for one in told]


def table_of(labels: list[Any], date: str = "2024-{:02d}-01", mark: str = ",") -> str:
    rows = (f"{i}{mark}{date.format(i % 12 + 1)}{mark}{labels[i % len(labels)]}" for i in range(120))
    return "\n".join((f"id{mark}date{mark}y", *rows, ""))


@pytest.mark.parametrize(
    ("labels", "kind", "classes", "second", "told"),
    [
        (["no", "yes"], "binary", ("no", "yes"), 1, "labels are 'no' and 'yes', of which 'yes' is asked about"),
        (["ja", "nein"], "binary", ("nein", "ja"), 0, "of which 'ja' is asked about"),
        (["True", "False"], "binary", ("False", "True"), 0, "of which 'True' is asked about"),
        (["rot", "blau", "grün"], "multiclass", ("blau", "grün", "rot"), 0, ""),
        (["0,53", "1,5", "-2"], "regression", (), 1.5, ""),
        ([1, 2], "binary", ("1", "2"), 1, 'taken as two classes of which 2 is asked about (kind = "binary")'),
        ([-1, 1], "binary", ("-1", "1"), 1, 'for numbers, write kind = "regression"'),
        ([0, 1], "binary", (), 1, ""),
        ([0, 1, 2, 3, 4], "regression", (), 1, '5 whole numbers from 0 to 4, taken as numbers (kind = "regression")'),
        ([0.5, 1], "regression", (), 1, ""),
    ],
)
def test_labels_of_any_form(
    labels: list[Any], kind: str, classes: tuple[str, ...], second: float, told: str, tmp_path: Path
) -> None:
    task, rows, lines = labelled(tmp_path, table_of(labels, mark=";"))
    assert (task.kind, task.classes, rows.label[1]) == (kind, classes, second)
    assert (told in "\n".join(lines)) if told else not lines
    assert {0, 1, 2} == {*rows.split.tolist()}


@pytest.mark.parametrize(
    ("labels", "kind", "classes", "second"),
    [
        ([0, 5, 7], "multiclass", ("0", "5", "7"), 1),
        ([0, 1], "multiclass", ("0", "1"), 1),
        ([3, 1], "regression", (), 1),
        ([3, 1], "binary", ("1", "3"), 0),
        (["b", "a"], "multiclass", ("a", "b"), 0),
    ],
)
def test_the_kind_of_a_task_is_chosen(
    labels: list[Any], kind: str, classes: tuple[str, ...], second: float, tmp_path: Path
) -> None:
    task, rows, lines = labelled(tmp_path, table_of(labels), f'kind = "{kind}"')
    assert (task.kind, task.classes, rows.label[1], lines) == (kind, classes, second, [])


@pytest.mark.parametrize("date", ["01.{:02d}.2024", "{:02d}/28/2024", "1706{:02d}0000", "2024{:02d}01"])
def test_times_of_labels_in_any_form(date: str, tmp_path: Path) -> None:
    _, rows, lines = labelled(tmp_path, table_of([0, 1], date))
    assert len(set(rows.time.tolist())) == 12
    assert {0, 1, 2} == {*rows.split.tolist()}
    assert "120 times are read so: " in lines[0]


@pytest.mark.parametrize("date", ["2035-01-01", ""])
def test_labels_of_one_time_or_none_are_split_at_random(date: str, tmp_path: Path) -> None:
    task, rows, lines = labelled(tmp_path, table_of([0, 1], date), "horizon_days = 30")
    assert [int((rows.split == one).sum()) > 9 for one in range(3)] == [True] * 3
    assert "split at random by their entities, nothing in time is checked" in lines[-1]
    assert task.horizon == (0 if date else 30 * DAY)  # else no label is known at the time of the others
    short = "id,y\n" + "".join(f"{i},{i % 2}\n" for i in range(120))
    assert np.array_equal(labelled(tmp_path, short)[1].split, rows.split)
    split = "id,y,split\n" + "".join(f"{i},{i % 2},{('train', 'val', 'test')[i % 3]}\n" for i in range(120))
    assert labelled(tmp_path, split)[1].split.tolist() == [i % 3 for i in range(120)]


def test_labels_and_times_that_cannot_be_read_are_listed(tmp_path: Path) -> None:
    lines = table_of([0.5, 1]).splitlines()
    lines[3], lines[4], lines[5] = "2,2024-03-01,bad", "3,sometime,1", "4,2024-05-01,NA"
    _, rows, told = labelled(tmp_path, "\n".join(lines))
    assert len(rows.label) == 117
    listed = "\n".join(told)
    for line in (
        "1 times that cannot be read, left out (such as 'sometime')",
        "1 labels that cannot be read, left out (such as 'bad')",
        "1 rows without a label, left out",
    ):
        assert line in listed
    with pytest.raises(dg.RequestError, match=r"the second column holds no times \(such as 'a'\)"):
        labelled(tmp_path, "id,t,y\n1,a,1\n2,b,0\n")
    with pytest.raises(dg.RequestError, match="the labels are times"):
        labelled(tmp_path, "id,t,y\n1,2024-01-01,2024-01-01\n2,2024-01-02,2024-01-01\n")
    with pytest.raises(
        dg.RequestError, match=r"no row is left \(2 labels of unknown entities, left out \(such as 'x'\)\)"
    ):
        labelled(tmp_path, "id,t,y\nx,2024-01-01,1\ny,2024-01-02,0\n")
    for kind, labels in (("regression", ["a", "b"]), ("binary", ["a", "b", "c"]), ("binary", [1, 2, 3])):
        with pytest.raises(dg.RequestError, match=f"kind is {kind}, but"):
            labelled(tmp_path, table_of(labels), f'kind = "{kind}"')
    with pytest.raises(dg.RequestError, match="1,500 different labels such as 'a0' are no classes"):
        labelled(tmp_path, "id,y\n" + "".join(f"{i},a{i}\n" for i in range(1500)))


def test_changed_rows_of_a_task_are_refused(tmp_path: Path) -> None:
    dg.build_database(input=shop.write_json(tmp_path / "in"), out=tmp_path / "store")
    store = str(tmp_path / "store")
    (tmp_path / "tasks.toml").write_text(TASKS)
    (tmp_path / "labels.csv").write_text(LABELS)
    dg.add_tasks(store, str(tmp_path / "tasks.toml"))
    assert verify_database(store) == []
    file = tmp_path / "store" / "tasks" / "buys.parquet"
    rows = pq.read_table(file)
    flipped = pa.array(1 - rows.column("label").to_numpy())
    pq.write_table(rows.set_column(rows.column_names.index("label"), "label", flipped), file)
    with pytest.raises(RequestError, match=r"buys\.parquet: the bytes differ from the digest in tasks\.json"):
        dg.load_task(open_database(store), "buys")
    assert len(verify_database(store)) == 1
    dg.add_tasks(store, str(tmp_path / "tasks.toml"))
    assert verify_database(store) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "describes no tasks"),
        ('[tasks.a]\nentity = "customers"', "give either rule or table"),
        (
            '[tasks.a]\nentity = "customers"\nrule = "count(orders) > 99 within 1 day"\nstart = "2024-01-03"\nevery_days = 1',
            "all 9 labels are 0",
        ),
        ('[tasks.a]\nentity = "customers"\ntable = "none.csv"', "no such file of labels"),
        ('[tasks.a]\nentity = "customers"\nrule = "x"\nhidden = []', "'hidden' is an unknown field"),
        ('[tasks."../a"]\nentity = "orders"\nrule = "value(orders.amount)"', "a name has letters, digits"),
        ('[tasks.a]\nentity = "orders"\nrule = "value(orders.amount)"\nhide = ["orders.z"]', "no column 'z'"),
        ('[tasks.a]\nentity = "orders"\nrule = "value(orders.amount)"\nval_from = "soon"', "'soon' is no date"),
        (
            '[tasks.a]\nentity = "orders"\nrule = "value(orders.amount)"\nval_from = "2025-01-01"',
            "val_from must be before test_from",
        ),
    ],
)
def test_wrong_task_files(text: str, message: str, tmp_path: Path) -> None:
    dg.build_database(input=shop.write_json(tmp_path / "in"), out=tmp_path / "store")
    (tmp_path / "tasks.toml").write_text(text)
    with pytest.raises(dg.RequestError, match=message):
        dg.add_tasks(str(tmp_path / "store"), str(tmp_path / "tasks.toml"))
    assert not (tmp_path / "store" / "tasks.json").exists()


def test_rows_whose_window_reaches_into_the_next_split_are_left_out(tmp_path: Path) -> None:
    dg.build_database(input=shop.write_json(tmp_path / "in"), out=tmp_path / "store")
    (tmp_path / "tasks.toml").write_text(
        '[tasks.a]\nentity = "customers"\nrule = "count(orders) within 2 days"\nstart = "2024-01-02T13:00"\nevery_days = 0.5\n'
        'val_from = "2024-01-04"\ntest_from = "2024-01-07"\n'
    )
    left_out = dg.add_tasks(str(tmp_path / "store"), str(tmp_path / "tasks.toml"))["a"]
    _, rows = dg.load_task(open_database(str(tmp_path / "store")), "a")
    hours = sorted({int((one - moment("2024-01-01", "")) // 3_600_000_000) for one in rows.time})
    # The data end on the 6th at 12:00, so the last cut-off is the 4th at 01:00 (hour 73). Train cut-offs end at val_from - 2 days.
    assert hours == [73]
    assert rows.split.tolist() == [1] * 3
    assert [one.what.split(",")[0] for one in left_out][-1] == "rows whose label window reaches into the next split"


def test_last_cut_off_and_window_of_a_table(tmp_path: Path) -> None:
    dg.build_database(input=shop.write_json(tmp_path / "in"), out=tmp_path / "store")
    (tmp_path / "labels.csv").write_text(
        "who,at,y,split\n007,2024-01-03,1,train\n1e5,2024-01-04,0,val\n007,2024-01-04,3,test\n"
    )
    (tmp_path / "tasks.toml").write_text(
        '[tasks.short]\nentity = "customers"\nrule = "count(orders) within 1 hour"\nstart = "2024-01-03"\nuntil = "2024-01-04"\n'
        'every_days = 0.5\n[tasks.labelled]\nentity = "customers"\ntable = "labels.csv"\nhorizon_days = 1.5\n'
    )
    dg.add_tasks(str(tmp_path / "store"), str(tmp_path / "tasks.toml"))
    database = open_database(str(tmp_path / "store"))
    _, rows = dg.load_task(database, "short")
    assert sorted(set(rows.time.tolist())) == [moment(f"2024-01-0{one}", "") for one in ("3", "3T12:00", "4")]
    assert rows.label.tolist() == [0, 0, 0, 2, 0, 0, 0, 0, 0]
    task, rows = dg.load_task(database, "labelled")
    assert (task.kind, task.horizon) == ("regression", 3 * DAY // 2)
    assert rows.split.tolist() == [0, 1, 2]

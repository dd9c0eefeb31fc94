"""The tests that prove no leakage, and that each of them fails when the cut is loosened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from distgnn.config.database_model import DatabaseModelConfig
from distgnn.relational import evidence, sampling
from distgnn.relational.cells import Cells
from distgnn.relational.episodes import TEST, TRAIN, TaskData, fit_before, load_data
from distgnn.relational.evidence import collect
from distgnn.relational.predict import choose_context, predict_rows
from distgnn.relational.sampling import Limits, Seeds
from distgnn.relational.store import open_database
from distgnn.relational.tasks import load_task
from distgnn.relational.training import new_model
from distgnn.relational.values import Scaler
from distgnn.relational.visibility import of_task
from tests.helpers.databases import START, Frames, buys, frames, write_database

LIMITS = Limits(6, 3)
TIMED = ("orders", "items")


@pytest.fixture(scope="module")
def tables() -> Frames:
    return frames()


def opened(folder: Path, tables: Frames, task: str = "buys") -> TaskData:
    database = open_database(write_database(folder, tables))
    return load_data(database, *load_task(database, task), LIMITS)


def model() -> Any:
    return new_model(DatabaseModelConfig(width=16, heads=2, layers=1, name_width=4, members=1), 0)


def loosen(monkeypatch: pytest.MonkeyPatch, microseconds: int = 1) -> None:
    """Show rows whose time equals the cut-off."""
    seen, ranges = sampling.is_visible, sampling.visible_range
    monkeypatch.setattr(sampling, "is_visible", lambda d, t, rows, cut: seen(d, t, rows, cut + microseconds))
    for module in (sampling, evidence):
        monkeypatch.setattr(
            module, "visible_range", lambda d, fk, parents, cut: ranges(d, fk, parents, cut + microseconds)
        )


def both(monkeypatch: pytest.MonkeyPatch, holds: Callable[[], bool]) -> None:
    """The property holds, and does not once the cut is loosened."""
    assert holds()
    loosen(monkeypatch)
    assert not holds()


def cut_tables(tables: Frames, time: int, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Frames:
    """Apply ``change`` to the rows of timed tables that are not before ``time``."""
    cut = pd.Timestamp(time, unit="us")
    return tables | {
        name: pd.concat([tables[name][tables[name].date < cut], change(tables[name][tables[name].date >= cut])])
        for name in TIMED
    }


def _rows_with_an_order_at_their_cutoff(data: TaskData, tables: Frames) -> list[int]:
    at = set(
        zip(
            tables["orders"].customer_id - 100,
            tables["orders"].date.astype("datetime64[us]").astype("int64"),
            strict=True,
        )
    )
    rows = np.flatnonzero(data.rows.split == TEST)
    return [int(row) for row in rows if (data.rows.entity[row], data.rows.time[row]) in at]


def same_without_future(folder: Path, tables: Frames, change: Callable[[pd.DataFrame], pd.DataFrame]) -> bool:
    """Evidence and predictions of four test rows are the same, byte for byte, after ``change`` to their future."""
    whole = opened(folder / "whole", tables)
    context = choose_context(whole, np.flatnonzero(whole.rows.split == TEST), 64)
    for row in _rows_with_an_order_at_their_cutoff(whole, tables)[:4]:
        time = int(whole.rows.time[row])
        target = folder / str(row)
        database = open_database(write_database(target, cut_tables(tables, time, change)))
        pd.concat([buys(tables)]).to_parquet(target / "tasks/buys.parquet")  # the labels stay
        changed = load_data(database, *load_task(database, "buys"), LIMITS)
        if whole.raw[row].tobytes() != changed.raw[row].tobytes():
            return False
        answers = [predict_rows(model(), data, context, np.array([row]), 1).values for data in (whole, changed)]
        if not np.array_equal(*answers):
            return False
    return True


def test_1_deleting_the_future_changes_nothing(tmp_path: Path, tables: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    both(monkeypatch, lambda: same_without_future(tmp_path, tables, lambda rows: rows.iloc[:0]))


def test_2_poisoning_the_future_changes_nothing(
    tmp_path: Path, tables: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(rows: pd.DataFrame) -> pd.DataFrame:
        value = {"amount": 1e9, "quantity": np.nan, "paid": "bill"}
        return rows.assign(**{name: value[name] for name in rows if name in value})

    both(monkeypatch, lambda: same_without_future(tmp_path, tables, poison))


def test_2_late_cells_are_shown_once_they_are_known(tmp_path: Path, tables: Frames) -> None:
    database = open_database(write_database(tmp_path, tables))
    task, rows = load_task(database, "buys")
    visibility = of_task(database, task, rows)
    day = 86_400_000_000
    known = np.asarray(database.time("orders")) + 5 * day
    visibility._known["orders", "amount"] = known
    index = np.arange(40)
    hidden = visibility.hides("orders", "amount", index, known[index])
    shown = visibility.hides("orders", "amount", index, known[index] + 1)
    assert hidden.all()
    assert not shown.any()


@pytest.mark.parametrize(("days", "least", "most"), [(1, 0.35, 0.65), (-1, 0.99, 1.0)])
def test_3_and_4_shuffled_labels_and_planted_columns(
    tmp_path: Path, tables: Frames, days: int, least: float, most: float
) -> None:
    """Labels are coins. A column equal to the label is no help a day after the cut-off, and gives it away a day before."""
    coins = buys(tables)
    coins["label"] = np.random.default_rng(1).integers(0, 2, len(coins)).astype(float)
    planted = pd.DataFrame(
        {
            "order_id": np.arange(len(coins)) + 9_000_000,
            "customer_id": coins.customer_id,
            "referrer_id": coins.customer_id,
            "date": coins.timestamp + pd.Timedelta(days, "D"),
            "amount": coins.label,
            "paid": "card",
        }
    )
    folder = tmp_path / "planted"
    write_database(folder, tables | {"orders": planted.sort_values("date"), "items": tables["items"].iloc[:0]})
    coins.to_parquet(folder / "tasks/buys.parquet")
    database = open_database(str(folder))
    data = load_data(database, *load_task(database, "buys"), Limits(1, 0))
    queries = np.flatnonzero(data.rows.split == TEST)
    values = predict_rows(model(), data, choose_context(data, queries, 256), queries).values
    assert least <= roc_auc_score(data.rows.label[queries], values) <= most


def test_5_windows_equal_those_of_duckdb(tmp_path: Path, tables: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest visible order (ASOF join) and the number of visible orders of 1,000 rows."""
    database = open_database(write_database(tmp_path, tables))
    task, rows = load_task(database, "buys")
    chosen = np.arange(rows.entity.size)[:1000]
    asked = pd.DataFrame(
        {"n": chosen, "customer_id": rows.entity[chosen] + 100, "t": pd.to_datetime(rows.time[chosen], unit="us")}
    )
    orders = tables["orders"].sort_values(["date", "order_id"])
    con = duckdb.connect()
    con.register("asked", asked)
    con.register("orders", orders)
    counts = con.execute(
        "select n, count(order_id) c from asked a left join orders o"
        " on a.customer_id = o.customer_id and o.date < a.t group by n order by n"
    ).fetchnumpy()["c"]
    newest = con.execute(
        "select n, o.date d from asked a asof left join orders o on a.customer_id = o.customer_id and a.t > o.date order by n"
    ).fetchnumpy()["d"]
    seeds = Seeds(task.table, rows.entity[chosen].astype(np.int64), rows.time[chosen], chosen)

    def holds() -> bool:
        sources, values = collect(Cells(of_task(database, task, rows)), seeds, LIMITS)
        at = {source.name: index for index, source in enumerate(sources)}
        count = np.expm1(values[:, at["<orders.customer_id:value count orders.*"]].astype(float)).round()
        age = np.expm1(values[:, at["<orders.customer_id:value recency orders.*"]].astype(float))
        expected = (asked.t.to_numpy() - np.ma.filled(newest, np.datetime64("NaT"))) / np.timedelta64(1, "D")
        return np.array_equal(count, counts) and np.allclose(age, expected, rtol=1e-4, equal_nan=True)

    both(monkeypatch, holds)


def test_6_statistics_do_not_depend_on_later_rows(tmp_path: Path, tables: Frames) -> None:
    """Ranks, scales and categories are the same after all rows from the first validation cut-off on are deleted."""
    database = open_database(write_database(tmp_path / "whole", tables))
    task, rows = load_task(database, "buys")
    until = fit_before(rows)
    earlier = cut_tables(tables, until, lambda later: later.iloc[:0])
    cut = open_database(write_database(tmp_path / "cut", earlier))
    found = []
    for one in (database, cut):
        cells = Cells(of_task(one, task, rows), until)
        train = np.flatnonzero((rows.split == TRAIN) & (rows.time <= until))
        _, values = collect(
            cells, Seeds(task.table, rows.entity[train].astype(np.int64), rows.time[train], train), LIMITS
        )
        found.append((Scaler.fit(values), cells.common("orders", "paid")))
    (a, paid), (b, paid_before) = found
    assert paid == paid_before
    for name in ("kept", "quantiles", "centre", "scale", "missing"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    plain = Cells(of_task(database, task, rows)).common("orders", "paid")
    assert plain != paid  # the test can fail: counts over all rows differ


def test_7_context_labels_were_known_before_the_queries(tmp_path: Path, tables: Frames) -> None:
    data = opened(tmp_path, tables)
    queries = np.flatnonzero(data.rows.split == TEST)
    first = data.rows.time[queries].min()
    context = choose_context(data, queries, 10_000)
    assert (data.rows.time[context] + data.horizon <= first).all()
    assert (data.rows.split[context] == TRAIN).all()
    day = pd.Timedelta(30, "D") // pd.Timedelta(1, "us")
    assert data.horizon == day
    asked = int((START + pd.Timedelta(200, "D")).value // 1000)
    known = data.eligible(asked)
    assert data.rows.time[known].max() <= asked - day
    assert (data.rows.time[data.rows.split == TRAIN] < asked).sum() > known.size  # the test can fail


def test_predictions_do_not_depend_on_other_queries(tmp_path: Path, tables: Frames) -> None:
    data = opened(tmp_path, tables)
    queries = np.flatnonzero(data.rows.split == TEST)
    context = choose_context(data, queries, 64)
    whole = predict_rows(model(), data, context, queries).values
    torch.testing.assert_close(
        whole[5:6], predict_rows(model(), data, context, queries[5:6]).values, rtol=1e-4, atol=1e-5
    )
    data.rows.label[queries] = 7  # their labels are not read
    np.testing.assert_array_equal(whole, predict_rows(model(), data, context, queries).values)

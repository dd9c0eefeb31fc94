"""Sub-graphs and evidence against a slow reference, and as a pure function of (seed, epoch, row)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgnn.graph.keyed import key
from distgnn.relational.cells import DAY, Cells
from distgnn.relational.database import Database
from distgnn.relational.evidence import collect, sample
from distgnn.relational.sampling import NEVER, Limits, Seeds
from distgnn.relational.store import open_database
from distgnn.relational.tasks import load_task
from distgnn.relational.visibility import of_task
from tests.helpers.databases import Frames, frames, write_database

LIMITS = Limits(newest=4, random=3)


@pytest.fixture(scope="module")
def tables() -> Frames:
    return frames()


@pytest.fixture(scope="module")
def database(tables: Frames, tmp_path_factory: pytest.TempPathFactory) -> Database:
    return open_database(write_database(tmp_path_factory.mktemp("shop"), tables))


def seeds_and_cells(database: Database, name: str = "buys") -> tuple[Seeds, Cells]:
    task, rows = load_task(database, name)
    seeds = Seeds(task.table, rows.entity.astype(np.int64), rows.time, np.arange(rows.entity.size))
    return seeds, Cells(of_task(database, task, rows))


def test_levels_hold_exactly_the_visible_rows(database: Database, tables: Frames) -> None:
    """Every row of every level is a visible neighbour; totals, and the newest rows, are those of a slow filter."""
    seeds, cells = seeds_and_cells(database)
    levels = sample(cells, seeds, LIMITS, 1)
    orders = tables["orders"]
    path = next(path for path in levels if [step.name for step in path] == ["<orders.customer_id"])
    level = levels[path]
    cut = pd.to_datetime(seeds.cutoff, unit="us")
    for place in range(0, seeds.row.size, 7):
        visible = np.flatnonzero((orders.customer_id - 100 == seeds.row[place]) & (orders.date < cut[place]))
        found = level.row[level.owner == place]
        assert level.total[place] == visible.size
        assert set(found) <= set(visible)
        assert found.size == min(visible.size, 7) == np.unique(found).size
        assert set(visible[-4:]) <= set(found)
    deep = next(path for path in levels if [step.name for step in path] == ["<orders.customer_id", "<items.order_id"])
    items = levels[deep]
    assert (tables["items"].order_id.to_numpy()[items.row] - 5000 == level.row[items.parent]).all()
    assert (items.owner == level.owner[items.parent]).all()
    assert (np.asarray(database.time("items"))[items.row] < seeds.cutoff[items.owner]).all()


def test_evidence_of_a_customer(database: Database, tables: Frames) -> None:
    seeds, cells = seeds_and_cells(database)
    sources, values = collect(cells, seeds, Limits(1000, 0))
    at = {source.name: index for index, source in enumerate(sources)}
    orders, cut = tables["orders"], pd.to_datetime(seeds.cutoff, unit="us")
    for place in range(0, seeds.row.size, 31):
        own = orders[(orders.customer_id - 100 == seeds.row[place]) & (orders.date < cut[place])]
        row, step = values[place], "<orders.customer_id"
        assert row[at[f"{step}:value count orders.*"]] == pytest.approx(np.log1p(len(own)))
        recent = (own.date >= cut[place] - pd.Timedelta(30, "D")).sum()
        assert row[at[f"{step}:value window orders.*=30"]] == pytest.approx(np.log1p(recent))
        if len(own):
            assert row[at[f"{step}:mean number orders.amount"]] == pytest.approx(own.amount.mean(), rel=1e-5)
            assert row[at[f"{step}:max number orders.amount"]] == pytest.approx(own.amount.max(), rel=1e-5)
            assert row[at[f"{step}:last number orders.amount"]] == pytest.approx(own.amount.iloc[-1], rel=1e-5)
            days = (cut[place] - own.date.max()) / pd.Timedelta(1, "D")
            assert row[at[f"{step}:value recency orders.*"]] == pytest.approx(np.log1p(days), rel=1e-5)
            assert row[at[f"{step}:mean category orders.paid=card"]] == pytest.approx((own.paid == "card").mean())
        else:
            assert np.isnan(row[at[f"{step}:mean number orders.amount"]])


def test_entity_row_is_never_its_own_neighbour(database: Database) -> None:
    """Orders reach other orders through the customer; the asked order, whose amount is hidden, is not among them."""
    seeds, cells = seeds_and_cells(database, "order-amount")
    later = Seeds(seeds.table, seeds.row, np.full(seeds.row.size, seeds.cutoff.max() + DAY), seeds.number)
    for path, level in sample(cells, later, Limits(1000, 0), 0).items():
        if path and level.table == "orders":
            assert (level.row != seeds.row[level.owner]).all()
    names = [source.name for source in collect(cells, seeds, LIMITS)[0]]
    assert "row:value number orders.amount" not in names
    assert ">orders.customer_id<orders.customer_id:mean number orders.amount" in names


def test_other_role_is_subtracted(database: Database) -> None:
    seeds, cells = seeds_and_cells(database, "order-amount")
    sources, values = collect(cells, seeds, LIMITS)
    at = {source.name: index for index, source in enumerate(sources)}
    mine, other = (values[:, at[f">orders.{role}_id:value number customers.age"]] for role in ("customer", "referrer"))
    contrast = values[:, at[">orders.customer_id:value number customers.age minus >orders.referrer_id"]]
    np.testing.assert_allclose(contrast, mine - other)


def test_evidence_is_a_function_of_seed_epoch_and_row(database: Database) -> None:
    seeds, cells = seeds_and_cells(database)
    _, whole = collect(cells, seeds, LIMITS, seed=3, epoch=2)
    some = np.array([500, 3, 77, 400])
    part = Seeds(seeds.table, seeds.row[some], seeds.cutoff[some], seeds.number[some])
    np.testing.assert_array_equal(collect(cells, part, LIMITS, seed=3, epoch=2)[1], whole[some])
    assert not np.array_equal(collect(cells, seeds, LIMITS, seed=3, epoch=1)[1], whole, equal_nan=True)
    assert not np.array_equal(collect(cells, seeds, LIMITS, seed=4, epoch=2)[1], whole, equal_nan=True)
    assert key(3, 2) != key(4, 2)


def test_one_row_without_cutoff_leaves_out_ages_of_all(database: Database) -> None:
    seeds, cells = seeds_and_cells(database)
    cut = seeds.cutoff.copy()
    cut[3] = NEVER
    mixed = Seeds(seeds.table, seeds.row, cut, seeds.number)
    kinds = {source.kind for source in collect(cells, mixed, LIMITS)[0]}
    assert "count" in kinds
    assert not kinds & {"window", "recency", "calendar"}


def test_limits(database: Database) -> None:
    seeds, cells = seeds_and_cells(database)
    for limits in (Limits(1, 0), Limits(2, 5)):
        for path, level in sample(cells, seeds, limits, 0).items():
            if path and path[-1].down:
                assert np.bincount(level.parent).max() <= limits.newest + limits.random


def test_paths_without_hidden_tables_and_keys(tmp_path: Path, tables: Frames) -> None:
    database = open_database(write_database(tmp_path, tables))
    task, rows = load_task(database, "order-amount")
    plain = of_task(database, task, rows)
    hidden = type(plain)(database, "orders", frozenset({("items", "*")}), frozenset({"referrer_id"}))
    reached = {path[-1].target for path in hidden.paths if path}
    assert "items" in {path[-1].target for path in plain.paths if path}
    assert "items" not in reached
    assert all(step.foreign_key.column != "referrer_id" or step.down for path in hidden.paths for step in path[:1])

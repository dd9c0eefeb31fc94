"""Automatic tasks: labels are what their rules say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgnn.relational.automatic import Made, automatic_tasks, stored_task
from distgnn.relational.store import open_database
from distgnn.relational.tasks import DAY, Task, TaskRows
from tests.helpers.databases import Frames, frames, write_database

RULE = re.compile(
    r"(signed log|more than (?P<least>[\d.e+-]+)) of new (?P<table>\w+)(?:\.(?P<sum>\w+))?"
    r"(?: with (?P<column>\w+) = '(?P<value>\w+)')? \((?P<key>\w+)\) within (?P<days>\d+) days"
)


@pytest.fixture(scope="module")
def tables() -> Frames:
    return frames()


@pytest.fixture(scope="module")
def made(tables: Frames, tmp_path_factory: pytest.TempPathFactory) -> list[Made]:
    database = open_database(write_database(tmp_path_factory.mktemp("shop") / "shop", tables))
    return automatic_tasks(database, 200)


def amounts(tables: Frames, one: Made, rule: re.Match[str]) -> np.ndarray:
    """What the rows in the windows of a task add up to, row by row."""
    child, parents = tables[rule["table"]], tables[one.task.table]
    worth = child[rule["sum"]] if rule["sum"] else (child[rule["column"]] == rule["value"]) if rule["column"] else 1.0
    child = child.assign(worth=worth)
    keys = parents[one.task.key].to_numpy()[one.rows.entity]
    cuts = pd.to_datetime(one.rows.time, unit="us").to_numpy()
    window = np.timedelta64(int(rule["days"]), "D")
    of = {key: (group.date.to_numpy(), group.worth.to_numpy(float)) for key, group in child.groupby(rule["key"])}
    found = []
    for key, cut in zip(keys, cuts, strict=True):
        dates, worths = of[key]
        found.append(worths[(dates >= cut) & (dates < cut + window)].sum())
    return np.array(found, float)


@pytest.mark.parametrize("form", ["", "sum", "column"])
def test_labels_of_windows(tables: Frames, made: list[Made], form: str) -> None:
    """The number of child rows, the sum of a column, the number of rows of a category."""
    rules = [(one, RULE.fullmatch(one.task.rule)) for one in made if "within" in one.task.rule]
    assert all(rule for _, rule in rules)
    chosen = [
        (one, rule)
        for one, rule in rules
        if rule and bool(rule["sum"]) + 2 * bool(rule["column"]) == ["", "sum", "column"].index(form)
    ]
    assert {one.task.kind for one, _ in chosen} <= {"binary", "regression"}
    assert chosen
    for one, rule in chosen[:3]:
        amount = amounts(tables, one, rule)
        if one.task.kind == "regression":
            np.testing.assert_allclose(one.rows.label, np.log1p(amount), atol=1e-9)
        else:
            least = float(rule["least"])
            clear = np.abs(amount - least) > 1e-4 * abs(least)  # the rule tells six digits
            assert clear.any()
            np.testing.assert_array_equal(one.rows.label[clear], amount[clear] > least)


def test_cells_are_asked_about_twice(made: list[Made]) -> None:
    asked = [one.task.rule.split(":")[0] for one in made if "within" not in one.task.rule]
    assert max(map(asked.count, asked)) == 2


@pytest.mark.parametrize(("rows", "last", "stored"), [(400, 1, True), (190, 1, False), (400, 2, False)])
def test_tasks_of_few_rows_or_one_label_are_not_stored(
    rows: int, last: int, stored: bool, tables: Frames, tmp_path: Path
) -> None:
    """``last`` = 2: the test rows have one label."""
    database = open_database(write_database(tmp_path / "shop", tables))
    place = np.arange(rows)
    label = np.where(place < 0.85 * rows, place % 2, place % (3 - last)).astype(float)
    task = Task("t", "shop", "customers", "customer_id", "binary", rule="r")
    entity = (place % database.rows("customers")).astype(np.int32)
    made = Made(task, TaskRows(entity, place * DAY, label, np.zeros(rows, np.int8)))
    assert (stored_task(database, made) is not None) == stored

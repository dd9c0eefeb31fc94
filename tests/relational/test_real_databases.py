"""The 13 databases of shared/data/databases, if they are there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from distgnn.relational.store import open_database
from distgnn.relational.tasks import load_task, task_names

HERE = Path(__file__).resolve()
DATA = next((p / "shared/data/databases" for p in HERE.parents if (p / "shared/data/databases").is_dir()), None)
pytestmark = pytest.mark.skipif(DATA is None, reason="shared/data/databases is not here")
FOLDERS = sorted(DATA.glob("*/database.json")) if DATA else []


@pytest.mark.parametrize("file", FOLDERS, ids=lambda path: path.parent.name)
def test_database_opens_with_its_links_sorted_and_its_tasks(file: Path) -> None:
    database, facts = open_database(str(file.parent)), json.loads(file.read_text())
    integrity = {item["key"]: item for item in facts["integrity"]}
    for key in database.schema.foreign_keys:
        parent, children = database.parent(key), database.children(key)
        found = integrity.get(str(key), {"dangling": 0, "null": 0})
        assert (parent < 0).sum() == found["dangling"] + found["null"]
        time = database.time(key.table)
        when = np.zeros(len(parent), np.int64) if time is None else time
        expected = np.lexsort((np.arange(len(parent)), when, parent))[(parent < 0).sum() :]
        np.testing.assert_array_equal(children.rows, expected)
        counts = np.bincount(parent[parent >= 0], minlength=database.rows(key.parent))
        np.testing.assert_array_equal(np.diff(children.indptr), counts)
    for name in task_names(str(file.parent)):
        task, rows = load_task(database, name)
        assert len(np.unique(rows.split)) == 3
        assert task.kind == ("regression" if task.metric == "mae" else "binary")

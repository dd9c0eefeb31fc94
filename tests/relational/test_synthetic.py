"""Synthetic databases: a function of the seed, with known truth that the data shows, and with tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distgnn.config.database_model import DatabasePretrainConfig
from distgnn.relational.automatic import automatic_tasks
from distgnn.relational.pretraining import pretraining_pool
from distgnn.relational.synthetic import synthetic_database
from tests.helpers.databases import frames, write_database


def test_actors_have_as_many_events_as_their_factors_say() -> None:
    for number in range(3):
        made = synthetic_database(number)
        keys = {key.parent: key for key in made.database.schema.foreign_keys if key.table == made.events}
        counts = np.diff(made.database.children(keys[made.actors]).indptr)
        assert counts.sum() == made.database.rows(made.events)
        assert abs(counts - made.rate).mean() < 1.1 * np.sqrt(made.rate).mean()  # Poisson
        time = made.database.time(made.events)
        assert time is not None
        assert (np.diff(time) >= 0).all()
        assert len(automatic_tasks(made.database, 6)) == 6


def test_a_database_is_a_function_of_its_number_and_seed() -> None:
    one, same, other = synthetic_database(1, 5), synthetic_database(1, 5), synthetic_database(1, 6)
    assert one.database.schema == same.database.schema != other.database.schema
    np.testing.assert_array_equal(one.factors, same.factors)
    assert one.factors.shape != other.factors.shape or not np.array_equal(one.factors, other.factors)


def test_they_are_added_to_the_pool(tmp_path: Path) -> None:
    shop = str(write_database(tmp_path / "in", frames(customers=30, orders=500)))
    names = [
        [data.name for data in pretraining_pool(DatabasePretrainConfig((shop,), automatic=2, synthetic=count))]
        for count in (0, 2)
    ]
    assert names[1][: len(names[0])] == names[0]
    assert {name.split("/")[0] for name in names[1][len(names[0]) :]} == {"synthetic-0-0", "synthetic-0-1"}
    many = pretraining_pool(DatabasePretrainConfig((shop,), automatic=14, synthetic=1))
    assert sum(data.name.startswith("synthetic") for data in many) == 12

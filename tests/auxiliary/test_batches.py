"""Folds part the rows; each is met over and over in new orders; no row judges a step it was part of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.errors import RequestError
from distgnn.graph.keyed import below, draw


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(2, 90), folds=st.integers(1, 6), batch=st.integers(2, 40), seed=st.integers(0, 5))
def test_every_row_has_one_fold_and_is_met_as_often_as_others_of_it(
    rows: int, folds: int, batch: int, seed: int
) -> None:
    strata = below(draw(seed, np.arange(rows)), np.full(rows, 3))
    if min(rows, batch) < max(folds, 2):
        with pytest.raises(RequestError, match=f"weighting.folds={folds} needs at least"):
            Folds(strata, folds, batch, seed)
        return
    made = Folds(strata, folds, batch, seed)
    members = [set(part.tolist()) for part in made._members]
    assert sorted(row for part in members for row in part) == list(range(rows))
    assert max(map(len, members)) - min(map(len, members)) <= 1
    shares = np.array([np.bincount(strata[list(part)], minlength=3) for part in members])
    assert (np.ptp(shares, axis=0) <= 1).all()
    for step in (0, 1, 7, 40):
        parts = made.rows(step)
        assert len(parts) == max(folds, 2)
        together = np.concatenate(parts)
        assert len(set(together.tolist())) == len(together)
        for part, fold in zip(parts, members if folds > 1 else members * 2, strict=True):
            assert set(part.tolist()) <= fold
        if folds > 1:
            assert [len(part) for part in parts] == [min(batch // folds, len(fold)) for fold in members]


def test_a_pass_meets_a_fold_once_and_the_next_in_another_order() -> None:
    folds = Folds(np.zeros(60, np.int64), 3, 12, 0)
    first, second = (np.concatenate([folds.rows(step)[1] for step in range(i, i + 5)]).tolist() for i in (0, 5))
    assert sorted(first) == sorted(second)
    assert len(set(first)) == 20
    assert first != second


def test_rows_are_a_function_of_seed_and_step_alone() -> None:
    ahead, back = Folds(np.zeros(50, np.int64), 3, 9, 4), Folds(np.zeros(50, np.int64), 3, 9, 4)
    wanted = {step: [part.tolist() for part in ahead.rows(step)] for step in range(12)}
    for step in (11, 0, 5, 5, 3):
        assert [part.tolist() for part in back.rows(step)] == wanted[step]
    assert [part.tolist() for part in Folds(np.zeros(50, np.int64), 3, 9, 5).rows(0)] != wanted[0]


def test_one_fold_halves_the_batch() -> None:
    folds = Folds(np.zeros(20, np.int64), 1, 7, 0)
    assert [len(part) for part in folds.rows(0)] == [4, 3]
    assert folds.judges == (1,)
    assert Folds(np.zeros(20, np.int64), 3, 7, 0).judges == (0, 1, 2)
    met = {row for step in range(2) for part in folds.rows(step) for row in part.tolist()}
    assert len(met) == 14


@pytest.mark.parametrize(
    ("rows", "batch", "what"), [(2, 30, "training rows, found 2"), (30, 2, "rows in a batch, found 2")]
)
def test_too_little_is_refused(rows: int, batch: int, what: str) -> None:
    with pytest.raises(RequestError, match=f"folds=3 needs at least 3 {what}"):
        Folds(np.zeros(rows, np.int64), 3, batch, 0)

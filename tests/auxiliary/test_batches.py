"""Batches: every row once per epoch, and folds that partition a batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.auxiliary.batches import FEWEST, Batches, held_out
from distgnn.config import WeightingConfig
from distgnn.errors import RequestError
from distgnn.graph.keyed import below, draw


def zeros(rows: int) -> np.ndarray:
    return np.zeros(rows, np.int64)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(2, 90), folds=st.integers(0, 6), batch=st.integers(2, 40), seed=st.integers(0, 5))
def test_an_epoch_takes_every_row_once_in_equal_batches_and_balanced_folds(
    rows: int, folds: int, batch: int, seed: int
) -> None:
    strata = below(draw(seed, np.arange(rows)), np.full(rows, 3))
    steps = -(-rows // batch)
    if folds and rows // steps < max(folds, 2):
        with pytest.raises(RequestError, match=f"weighting.folds={folds} needs at least"):
            Batches(strata, batch, seed, folds)
        return
    made = Batches(strata, batch, seed, folds)
    assert made.steps_per_epoch == steps
    taken = [made.rows(step) for step in range(steps)]
    sizes = [sum(map(len, parts)) for parts in taken]
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1
    assert sorted(np.concatenate([row for parts in taken for row in parts]).tolist()) == list(range(rows))
    for parts in taken:
        assert len(parts) == made.parts == (max(folds, 2) if folds else 1)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        if folds > 1:
            shares = np.array([np.bincount(strata[part], minlength=3) for part in parts])
            assert (np.ptp(shares, axis=0) <= 1).all()


def test_folds_do_not_change_the_rows_of_a_step() -> None:
    """Methods with and without folds are compared in pairs."""
    whole, parted = Batches(zeros(50), 12, 3), Batches(below(draw(1, np.arange(50)), np.full(50, 3)), 12, 3, 3)
    for step in range(9):
        assert sorted(whole.rows(step)[0].tolist()) == sorted(np.concatenate(parted.rows(step)).tolist())


def test_the_order_differs_between_epochs() -> None:
    batches = Batches(zeros(60), 12, 0)
    first, second = (np.concatenate([batches.rows(step)[0] for step in range(i, i + 5)]).tolist() for i in (0, 5))
    assert sorted(first) == sorted(second) == list(range(60))
    assert first != second


def test_rows_are_a_function_of_seed_and_step_alone() -> None:
    ahead, back = Batches(zeros(50), 9, 4, 3), Batches(zeros(50), 9, 4, 3)
    wanted = {step: [part.tolist() for part in ahead.rows(step)] for step in range(12)}
    for step in (11, 0, 5, 5, 3):
        assert [part.tolist() for part in back.rows(step)] == wanted[step]
    assert [part.tolist() for part in Batches(zeros(50), 9, 5, 3).rows(0)] != wanted[0]


def test_judges() -> None:
    halves = Batches(zeros(20), 7, 0, 1)
    assert [len(part) for part in halves.rows(0)] == [3, 3]
    assert halves.judges == (1,)
    assert Batches(zeros(20), 7, 0, 3).judges == (0, 1, 2)
    assert Batches(zeros(20), 7, 0).judges == ()


@pytest.mark.parametrize(
    ("rows", "batch", "what"), [(2, 30, "training rows, found 2"), (30, 2, "rows in a batch, found 2")]
)
def test_too_few_rows_are_refused(rows: int, batch: int, what: str) -> None:
    with pytest.raises(RequestError, match=f"folds=3 needs at least 3 {what}"):
        Batches(zeros(rows), batch, 0, 3)


def test_held_out_rows_are_a_stratified_share_and_never_in_a_batch() -> None:
    strata = np.repeat([0, 1], [90, 30])
    for seed in range(3):
        plain, without = (Batches(strata, 16, seed, heldout=share) for share in (0.0, 0.2))
        assert len(without.held) == 24
        assert np.bincount(strata[without.held]).tolist() == [18, 6]
        assert without.steps_per_epoch == plain.steps_per_epoch
        for epoch in range(2):
            steps = range(epoch * 8, epoch * 8 + 8)
            rows, every = (np.concatenate([b.rows(step)[0] for step in steps]) for b in (without, plain))
            assert not set(rows.tolist()) & set(without.held.tolist())
            assert rows.tolist() == [row for row in every.tolist() if row not in without.held]
        judges = [without.judge_rows(step) for step in range(20)]
        assert all(len(judge) == FEWEST and np.isin(judge, without.held).all() for judge in judges)
        assert len(np.unique(np.concatenate(judges))) == 24
    assert len(np.intersect1d(held_out(strata, 0.2, 1), held_out(strata, 0.2, 2))) < 24


def test_few_rows_are_held_out_as_tenths_and_halves() -> None:
    assert [len(held_out(zeros(rows), 0.2, 0)) for rows in (100, 40, 12, 2)] == [20, 10, 6, 1]
    with pytest.raises(RequestError, match=r"weighting\.judge needs at least 2 rows to take some from, found 1"):
        held_out(zeros(1), 0.2, 0)


def test_options_choose_folds_or_held_out_rows() -> None:
    folds, held = (Batches.of(zeros(60), 20, 0, WeightingConfig(judge=judge)) for judge in ("folds", "heldout"))
    assert (folds.parts, len(folds.held), held.parts, len(held.held)) == (3, 0, 1, 10)
    assert len(Batches.of(zeros(60), 20, 0, WeightingConfig(heldout=0.5)).held) == 30

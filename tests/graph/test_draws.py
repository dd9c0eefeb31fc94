"""Draws of labelled corpora: disjoint, of the right sizes, keyed, and independent of the order of graphs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from distgnn.graph.draws import Draw, draw_groups, draw_random, draw_stratified

GRAPHS, TEST = 120, 40
IDS = np.random.default_rng(0).permutation(1000)[:GRAPHS].astype(np.int64)
CLASSES = (np.arange(GRAPHS) % 4 == 0).astype(np.int64)
GROUPS = np.array([None if g % 10 == 0 else f"s{g // 7}" for g in range(GRAPHS)], dtype=object)
Make = Callable[[np.ndarray, int, int], Draw]


def random(rows: np.ndarray, seed: int, number: int) -> Draw:
    return draw_random(rows, IDS[rows], TEST, seed, number)


def stratified(rows: np.ndarray, seed: int, number: int) -> Draw:
    return draw_stratified(rows, IDS[rows], CLASSES[rows], TEST, seed, number)


def groups(rows: np.ndarray, seed: int, number: int) -> Draw:
    return draw_groups(rows, IDS[rows], GROUPS[rows], TEST, seed, number)


MAKERS = [random, stratified, groups]
ROWS = np.arange(GRAPHS)


@pytest.mark.parametrize("make", MAKERS)
def test_parts_are_disjoint_and_complete(make: Make) -> None:
    for number in range(5):
        test, pool = make(ROWS, 0, number)
        assert sorted([*test, *pool]) == list(ROWS)
        assert len(test) == TEST
        assert list(test) == sorted(test)


@pytest.mark.parametrize("make", MAKERS)
def test_seed_and_number_are_keys(make: Make) -> None:
    first = make(ROWS, 0, 0)
    assert np.array_equal(make(ROWS, 0, 0).pool, first.pool)
    for other in (make(ROWS, 0, 1), make(ROWS, 1, 0)):
        assert not np.array_equal(other.test, first.test)
        assert not np.array_equal(other.pool, first.pool)


@pytest.mark.parametrize("make", MAKERS)
def test_graphs_are_told_by_id_not_by_place(make: Make) -> None:
    one, other = make(ROWS, 3, 2), make(ROWS[::-1].copy(), 3, 2)
    assert np.array_equal(one.test, other.test)
    assert np.array_equal(one.pool, other.pool)


@pytest.mark.parametrize("make", [random, stratified])
def test_every_graph_is_tested_about_equally_often(make: Make) -> None:
    counts = np.zeros(GRAPHS)
    for number in range(300):
        counts[make(ROWS, 0, number).test] += 1
    assert counts.mean() == pytest.approx(300 * TEST / GRAPHS)
    assert counts.min() > 60
    assert counts.max() < 150


def test_stratified_draws_keep_the_shares_of_classes() -> None:
    for number in range(10):
        test, pool = stratified(ROWS, 0, number)
        assert CLASSES[test].sum() == TEST // 4
        for count in (4, 10, 30, 80):
            assert abs(CLASSES[pool[:count]].sum() - count / 4) <= 1


def test_groups_are_never_divided() -> None:
    for number in range(10):
        test, pool = groups(ROWS, 0, number)
        shared = {GROUPS[row] for row in test} & {GROUPS[row] for row in pool}
        assert shared <= {None}


def test_a_group_larger_than_the_test_set_is_learned_from() -> None:
    one = np.array(["big"] * 80 + ["small"] * 30 + [None] * 10, dtype=object)
    for number in range(5):
        test, _ = draw_groups(ROWS, IDS, one, TEST, 0, number)
        assert set(one[test]) <= {"small", None}


def test_large_groups_are_not_preferred() -> None:
    """The place of a group in the order does not depend on its size."""
    pair = np.array(["large"] * 60 + ["tiny"] * 2 + ["other"] * 58, dtype=object)
    chosen = [set(pair[draw_groups(ROWS, IDS, pair, 60, 0, number).test]) for number in range(300)]
    assert 70 < sum("large" in names for names in chosen) < 130

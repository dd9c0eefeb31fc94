"""Tests and intervals over overlapping draws: closed forms, a slow oracle, and rates of false positives by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from distgnn.labels.resampling import effect, interval, pooled_effect
from distgnn.labels.scores import paired_p_value

TEST, GRAPHS = 400, 1500
OVERLAP = TEST / (GRAPHS - TEST)


def test_one_seed_is_the_corrected_resampled_t_test() -> None:
    difference = np.array([0.02, -0.01, 0.03, 0.01, 0.05])
    control = np.full((1, 5), 0.7)
    found = effect(control + difference, control, overlap=0.25)
    se = (difference.var(ddof=1) * (1 / 5 + 0.25)) ** 0.5
    assert found.difference == pytest.approx(0.02)
    assert found.se == pytest.approx(se)
    assert found.df == pytest.approx(4)
    assert found.p == pytest.approx(2 * stats.t.sf(0.02 / se, 4))
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 4, 0.02, se))


def test_without_overlap_it_is_the_paired_t_test() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 8))
    assert effect(first[None], second[None], 0.0).p == pytest.approx(paired_p_value(first, second))


def test_seeds_add_their_variance_component() -> None:
    """Against the mean squares of a two-way layout, computed with loops."""
    scores = np.random.default_rng(1).normal(size=(4, 6)) + np.array([0.0, 3.0, -2.0, 1.0])[:, None]
    control = np.zeros((1, 6))
    mean_squares = {"seed": 0.0, "residual": 0.0}
    for s in range(4):
        mean_squares["seed"] += 6 * (scores[s].mean() - scores.mean()) ** 2 / 3
        for d in range(6):
            residual = scores[s, d] - scores[s].mean() - scores[:, d].mean() + scores.mean()
            mean_squares["residual"] += residual**2 / 15
    component = (mean_squares["seed"] - mean_squares["residual"]) / 6
    parts = scores.mean(axis=0).var(ddof=1) * (1 / 6 + 0.3), component / 4
    found = effect(scores, control, 0.3)
    assert found.se == pytest.approx(sum(parts) ** 0.5)
    assert found.df == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 5 + parts[1] ** 2 / 3))


def test_both_methods_may_have_seeds() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(3, 5)) + np.arange(3)[:, None], rng.normal(size=(2, 5)) + 4 * np.arange(2)[:, None]
    one, other = effect(first, second, 0.2), effect(second, first, 0.2)
    assert one.difference == pytest.approx(first.mean() - second.mean())
    assert (one.se, one.p) == pytest.approx((other.se, other.p))
    assert (one.se or 0) > (effect(first, second.mean(axis=0)[None], 0.2).se or 0)


def test_undefined_tests() -> None:
    assert effect(np.ones((1, 1)), np.zeros((1, 1)), 0.1) == (1.0, None, None, None, None, None)
    assert effect(np.ones((2, 4)), np.zeros((1, 4)), 0.1).p is None
    assert interval(np.array([[0.5, 0.7]]), 0.0).difference == pytest.approx(0.6)


@pytest.mark.parametrize("seeds", [1, 5])
def test_false_positives_are_near_nominal_where_the_paired_t_test_is_not(seeds: int) -> None:
    """Every graph has an effect of its own with mean 0; a draw sees the mean over its test graphs."""
    rng, repeats, draws = np.random.default_rng(3), 400, 10
    corrected = plain = 0
    for _ in range(repeats):
        of_graph, of_seed = rng.normal(size=GRAPHS), rng.normal(scale=0.03, size=seeds if seeds > 1 else 0)
        tests = rng.permuted(np.tile(np.arange(GRAPHS), (draws, 1)), axis=1)[:, :TEST]
        scores = of_graph[tests].mean(axis=1) + (of_seed[:, None] if seeds > 1 else np.zeros((1, 1)))
        scores = scores + rng.normal(scale=0.01, size=(seeds, draws))
        corrected += (effect(scores, np.zeros((1, draws)), OVERLAP).p or 1.0) < 0.05
        plain += (paired_p_value(scores.mean(axis=0), np.zeros(draws)) or 1.0) < 0.05
    assert 0.02 < corrected / repeats < 0.09
    assert plain / repeats > 0.25


def test_pooled_over_one_set_is_the_effect_of_the_set() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(3, 6)), rng.normal(size=(1, 6))
    assert pooled_effect([(first, second)], [0.3]) == effect(first, second, 0.3)


def test_pooled_over_sets_with_one_seed_adds_their_variances() -> None:
    rng = np.random.default_rng(5)
    pairs = [(rng.normal(loc=place, size=(1, 6)), rng.normal(size=(1, 6))) for place in range(3)]
    each, found = [effect(*pair, 0.2) for pair in pairs], pooled_effect(pairs, [0.2] * 3)
    assert found.difference == pytest.approx(np.mean([one.difference for one in each]))
    assert found.se == pytest.approx(sum((one.se or 0) ** 2 for one in each) ** 0.5 / 3)


def test_a_set_with_constant_differences_adds_no_variance_to_the_pool() -> None:
    rng = np.random.default_rng(7)
    pair, constant = (rng.normal(size=(2, 6)), rng.normal(size=(1, 6))), (np.ones((2, 6)), np.zeros((1, 6)))
    found, alone = pooled_effect([pair, constant], [0.2, 0.2]), effect(pair[0].mean(0)[None], pair[1], 0.2)
    assert found.difference == pytest.approx((alone.difference + 1) / 2)
    assert (found.se or 0) >= (alone.se or 0) / 2 > 0
    assert found.p is not None
    assert pooled_effect([constant, constant], [0.2, 0.2]).p is None
    assert pooled_effect([pair, (pair[0][:, :1], pair[1][:, :1])], [0.2, 0.2]).p is None


def test_pooled_false_positives_with_seeds_that_differ_on_all_sets() -> None:
    """A seed's worth is shared by the sets; taken for independent, differences that are not there would be found."""
    rng, repeats, hits, apart = np.random.default_rng(6), 400, 0, 0
    control = np.zeros((1, 10))
    for _ in range(repeats):
        of_seed = rng.normal(size=(5, 1))
        pairs = [(of_seed + rng.normal(scale=0.5, size=(5, 10)), control) for _ in range(6)]
        hits += (pooled_effect(pairs, [0.0] * 6).p or 1.0) < 0.05
        each = [effect(*pair, 0.0) for pair in pairs]
        mean = np.mean([one.difference for one in each])
        apart += abs(mean) > 1.96 * sum((one.se or 0) ** 2 for one in each) ** 0.5 / 6
    assert 0.02 < hits / repeats < 0.09
    assert apart / repeats > 0.25

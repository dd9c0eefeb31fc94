"""Differences of scores over repeated draws of one data set: tests and intervals that allow for overlapping draws.

Test graphs of different draws overlap, so the scores of J draws are correlated and the plain paired t-test over draws is
far too optimistic. Nadeau and Bengio ("Inference for the generalization error", Machine Learning 52, 2003, section 3)
correct the variance of the mean by the factor 1/J + n_test / n_train instead of 1/J. Their n_train is all that a test set of
n_test leaves of the N graphs: the correlation of two draws is the expected share of test graphs that they have in common,
n_test / N, and (n_test / N) / (1 - n_test / N) = n_test / (N - n_test). A training on n labels that leaves most graphs
unused does not change that overlap, so N - n_test is used here, not n.

Several pre-training seeds are a random factor that is crossed with the draws (every seed is evaluated on every draw). The
variance of a grand mean is the sum of the corrected variance over draws and of the variance component of the seeds divided
by their number (two-way random effects: Searle, Casella and McCulloch, "Variance components", 1992, chapter 4). Its degrees
of freedom are those of Satterthwaite ("An approximate distribution of estimates of variance components", Biometrics
Bulletin 2, 1946). With one seed this is exactly the test of Nadeau and Bengio, and says nothing about other seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Scores = npt.NDArray[np.float64]
LEVEL = 0.95


class Effect(NamedTuple):
    """Difference of two methods.

    Attributes:
        difference: Mean of the first method minus mean of the second.
        se: Standard error of the difference; None for a single draw or constant differences.
        df: Degrees of freedom of the t distribution.
        low, high: Limits of the 95 % confidence interval.
        p: Two-sided p-value.
    """

    difference: float
    se: float | None = None
    df: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def effect(first: Scores, second: Scores, overlap: float) -> Effect:
    """Compare two methods that were evaluated on the same draws.

    Args:
        first, second: float [seeds, draws], scores; the numbers of seeds may differ.
        overlap: n_test / (N - n_test), the correction for overlapping test graphs; 0 for independent draws.

    Returns:
        The difference with its interval and test.
    """
    return pooled_effect([(first, second)], [overlap])


def pooled_effect(pairs: Sequence[tuple[Scores, Scores]], overlaps: Sequence[float]) -> Effect:
    """Compare two methods on several data sets by the mean over the sets, with the same pre-training seeds on all of them.

    Draws of different sets are independent. Seeds are a factor that the sets share, so what a seed is worth on average over
    the sets is added once. A set whose differences are the same in every draw adds no variance; there is no test if all are
    such, or if a set has a single draw. The result is about these data sets, not about others.

    Args:
        pairs: (first, second) of each set, as for :func:`effect`.
        overlaps: The correction of each set.

    Returns:
        The mean difference with its interval and test.
    """
    by_draw = [first.mean(axis=0) - second.mean(axis=0) for first, second in pairs]
    difference = float(np.mean([values.mean() for values in by_draw]))
    varied = [not _is_constant(values) for values in by_draw]
    if not any(varied) or any(values.size < 2 for values in by_draw):
        return Effect(difference)
    parts = [
        (float(values.var(ddof=1)) * (1 / values.size + overlap) / len(pairs) ** 2, values.size - 1)
        for values, overlap, varies in zip(by_draw, overlaps, varied, strict=True)
        if varies
    ]
    for method in zip(*pairs, strict=True):
        scores = np.concatenate([one - one.mean() for one in method], axis=1)
        if len(scores) > 1:
            parts.append((_seed_variance(scores), len(scores) - 1))
    variance = sum(value for value, _ in parts)
    df = variance**2 / sum(value**2 / count for value, count in parts)
    se = variance**0.5
    half = se * float(stats.t.ppf((1 + LEVEL) / 2, df))
    p = 2 * float(stats.t.sf(abs(difference) / se, df))
    return Effect(difference, se, df, difference - half, difference + half, p)


def _is_constant(values: Scores) -> bool:
    """Whether no test is possible: fewer than 2 draws, or constant differences."""
    return values.size < 2 or float(np.ptp(values)) <= 1e-12 * max(1.0, float(np.abs(values).max()))


def _seed_variance(scores: Scores) -> float:
    """Return the estimated variance of the mean over seeds that is due to the seeds, without the noise of their draws.

    Shape:
        scores: float [seeds, draws].
    """
    seeds, draws = scores.shape
    by_seed, by_draw = scores.mean(axis=1), scores.mean(axis=0)
    residual = scores - by_seed[:, None] - by_draw + scores.mean()
    noise = float((residual**2).sum()) / ((seeds - 1) * max(draws - 1, 1))
    return max(0.0, float(by_seed.var(ddof=1)) - noise / draws) / seeds


def interval(scores: Scores, overlap: float) -> Effect:
    """Return the mean of one method over seeds and draws with its confidence interval, as :func:`effect`."""
    return effect(scores, np.zeros((1, scores.shape[1])), overlap)

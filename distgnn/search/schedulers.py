"""Trial schedulers: ASHA and the median rule stop trials, population-based training has them clone others.

A decision is a function of the trial records alone, so a resumed sweep decides with everything that earlier sessions recorded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from distgnn.graph.keyed import key
from distgnn.graph.purposes import SearchDraw
from distgnn.search.proposals import explore
from distgnn.search.records import Clone, Sweep, TrialRecord
from distgnn.search.space import read_space

_CLONED = 1
_QUANTILE = 0.25
_MIN_SAMPLES = 3


def decide(sweep: Sweep, record: TrialRecord, others: Sequence[TrialRecord]) -> TrialRecord:
    """Apply the scheduler of a sweep to a trial that has just reported a rung.

    Args:
        sweep: The sweep; ``sweep.config.scheduler`` selects the rule.
        record: The trial; its last rung is the one reported.
        others: All other trials of the sweep.

    Returns:
        The record with state "finished" (the rung is the budget) or "stopped", or with a new clone to continue from, or as it was.
    """
    scheduler = sweep.config.scheduler
    if record.fidelity >= sweep.budget:
        return replace(record, state="finished")
    if scheduler == "asha" and _below_top_fraction(sweep, record, others):
        return replace(record, state="stopped")
    if scheduler == "median" and _below_median(sweep, record, others):
        return replace(record, state="stopped")
    return _exploit(sweep, record, others) if scheduler == "pbt" else record


def _below_top_fraction(sweep: Sweep, record: TrialRecord, others: Sequence[TrialRecord]) -> bool:
    """Asynchronous successive halving (Li et al., MLSys 2020): keep the top 1/reduction_factor of the scores at a rung so far."""
    rung = record.rungs[-1]
    seen = _finite([other.score for trial in others for other in trial.rungs if other.fidelity == rung.fidelity])
    if not len(seen):
        return False
    return bool(
        sweep.sign * rung.score < np.percentile(sweep.sign * seen, 100 * (1 - 1 / sweep.config.reduction_factor))
    )


def _below_median(sweep: Sweep, record: TrialRecord, others: Sequence[TrialRecord]) -> bool:
    """Median stopping rule (Golovin et al., KDD 2017, section 3.2.1): the best score is below the median of the others' means.

    The means are over the rungs up to the present one, of trials that have reached it; with fewer than three, nothing is stopped.
    """
    at = record.fidelity
    reached = [[rung.score for rung in trial.rungs if rung.fidelity <= at] for trial in others if trial.fidelity >= at]
    means = _finite([float(np.mean(scores)) for scores in reached if scores])
    if len(means) < _MIN_SAMPLES:
        return False
    return bool(np.median(sweep.sign * means) > max(sweep.sign * rung.score for rung in record.rungs))


def _finite(scores: list[float]) -> np.ndarray:
    values = np.array(scores, dtype=float)
    return values[np.isfinite(values)]


def _exploit(sweep: Sweep, record: TrialRecord, others: Sequence[TrialRecord]) -> TrialRecord:
    """Population-based training (Jaderberg et al., 2017): a trial of the lower quantile clones one of the upper quantile.

    A trial that has not reported since its own last clone is no source: its checkpoint may not have been copied yet.
    """
    running = [trial for trial in (*others, record) if trial.state == "running" and math.isfinite(trial.score or 0.0)]
    ranked = sorted(
        (trial for trial in running if trial.rungs),
        key=lambda trial: (sweep.sign * trial.rungs[-1].score, trial.number),
    )
    count = min(math.ceil(_QUANTILE * len(ranked)), len(ranked) // 2)
    lower, upper = ranked[:count], [trial for trial in ranked[len(ranked) - count :] if not trial.cloning]
    if record not in lower or not upper:
        return record
    seed, turn = sweep.config.seed, len(record.clones)
    source = upper[key(seed, SearchDraw.CLONE_SOURCE, record.number, turn) % len(upper)]
    params = explore(read_space(sweep.config), source.params, seed, _CLONED, record.number, turn)
    clone = Clone(source.number, len(source.clones), source.reached, len(record.rungs), params)
    return replace(record, params=params, clones=(*record.clones, clone))

"""What the numbers of a sweep say: who leads, how fast it came, what costs less without being worse, where time went."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from distgnn.report.sweep.data import View
from distgnn.search.records import TrialRecord, best_of

_RANK = {"finished": 0, "stopped": 1, "running": 2, "queued": 3, "failed": 4}


def scored(view: View) -> list[TrialRecord]:
    """Finished trials, the best first; only they are comparable, for only they got the whole of their steps."""
    return [trial for trial in ordered(view) if trial.state == "finished" and trial.score is not None]


def leader(view: View) -> TrialRecord | None:
    """The winner, or the best trial that has finished so far; None where none has."""
    if view.final is not None:
        return next((trial for trial in view.trials if trial.number == view.final.number), None)
    return best_of(view.sweep, view.trials)


def goodness(view: View, trial: TrialRecord) -> float:
    """Its score with the sign that makes more better; minus infinity where it has none."""
    return -np.inf if trial.score is None or np.isnan(trial.score) else view.sign * trial.score


def ordered(view: View) -> list[TrialRecord]:
    """All trials: the finished from best to worst, the stopped by how far they came, then running, queued and failed."""

    def place(trial: TrialRecord) -> tuple[float, ...]:
        far = trial.fidelity if trial.state == "stopped" else 0
        return _RANK[trial.state], -far, -goodness(view, trial), trial.number

    return sorted(view.trials, key=place)


def by_end(view: View) -> list[TrialRecord]:
    """Trials that have ended and have a score, in the order they ended."""
    ended = [trial for trial in view.of("finished", "stopped") if trial.score is not None]
    return sorted(ended, key=lambda trial: (trial.ended or 0.0, trial.number))


def best_so_far(view: View) -> npt.NDArray[np.float64]:
    """[trials of by_end]: the best score of a finished trial up to each of them; NaN before the first."""
    own = [goodness(view, trial) if trial.state == "finished" else -np.inf for trial in by_end(view)]
    best = np.maximum.accumulate(np.array(own, dtype=np.float64))
    return np.where(np.isfinite(best), view.sign * best, np.nan)


def not_dominated(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """bool [n]: rows of ``costs`` [n, k], less is better, that no other row beats in one column and matches in all others."""
    no_worse = (costs[:, None] <= costs[None]).all(axis=2)
    better = (costs[:, None] < costs[None]).any(axis=2)
    return ~np.any(no_worse & better, axis=0, keepdims=True)[0]


def pareto(view: View) -> list[TrialRecord]:
    """Finished trials that no other beats in score without costing more seconds; the cheapest first."""
    trials = scored(view)
    if not trials:
        return []
    costs = np.array([(-goodness(view, trial), trial.seconds) for trial in trials])
    front = [trial for trial, keep in zip(trials, not_dominated(costs), strict=True) if keep]
    return sorted(front, key=lambda trial: (trial.seconds, trial.number))


def common_fidelity(trials: Sequence[TrialRecord]) -> int | None:
    """The highest fidelity that at least three quarters of the trials with a score came to: enough of them to compare."""
    having = [trial for trial in trials if trial.rungs]
    reached: dict[int, int] = {}
    for rung in (rung for trial in having for rung in trial.rungs):
        reached[rung.fidelity] = reached.get(rung.fidelity, 0) + 1
    return max((fidelity for fidelity, count in reached.items() if 4 * count >= 3 * len(having)), default=None)

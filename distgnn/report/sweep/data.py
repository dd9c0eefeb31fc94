"""Data of a sweep report: space, trials, final evaluation, and the order of the trials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from distgnn.search.domains import Choice, Range, Value
from distgnn.search.records import State, Sweep, TrialRecord, best_of, read_sweep, read_trials
from distgnn.search.space import Params, Space, check_params, read_space
from distgnn.search.winner import FinalEvaluation, read_result
from distgnn.storage.folder import Folder

_MAX_GRID_VALUES = 12
"""Maximum number of values of a range in the heat map."""
_RANK = {"finished": 0, "stopped": 1, "running": 2, "queued": 3, "failed": 4}


class Final(NamedTuple):
    """Final evaluation of a sweep: number of the winning trial; sides, the first the winner, the second the default."""

    number: int
    sides: tuple[FinalEvaluation, ...]


@dataclass(frozen=True)
class View:
    """A sweep, running or ended.

    Attributes:
        name: Name of the folder.
        sweep: Content of sweep.json.
        space: Domain of each searched field.
        trials: Trial records.
        final: Final evaluation; None before the end.
    """

    name: str
    sweep: Sweep
    space: Space
    trials: tuple[TrialRecord, ...]
    final: Final | None = None

    @property
    def higher_is_better(self) -> bool:
        """Whether scores are maximized."""
        return self.sweep.mode == "max"

    @property
    def default(self) -> Params:
        """Values of the searched fields in the default configuration."""
        return self.sweep.default

    def of(self, *states: State) -> list[TrialRecord]:
        """Return the trials in these states, by number."""
        return sorted((trial for trial in self.trials if trial.state in states), key=lambda trial: trial.number)


def few_points(domain: Range | Choice) -> tuple[Value, ...]:
    """Return the values of a choice or of a short range; empty for other ranges."""
    points = domain.points()
    return points if isinstance(domain, Choice) or len(points) <= _MAX_GRID_VALUES else ()


def score_at(trial: TrialRecord, fidelity: int) -> float | None:
    """Return the trial's last score at ``fidelity``; None if it never reached it."""
    return next((rung.score for rung in reversed(trial.rungs) if rung.fidelity == fidelity), None)


def scored(view: View) -> list[TrialRecord]:
    """Return the finished trials, best first; trials that stopped early are not comparable with them."""
    return [trial for trial in ordered(view) if trial.state == "finished" and trial.score is not None]


def leader(view: View) -> TrialRecord | None:
    """Return the winner, or before the end the best finished trial; None if there is none."""
    if view.final is not None:
        return next((trial for trial in view.trials if trial.number == view.final.number), None)
    return best_of(view.sweep, view.trials)


def ordered(view: View) -> list[TrialRecord]:
    """Return all trials: finished from best to worst, stopped by fidelity, then running, queued and failed."""
    sign = 1 if view.higher_is_better else -1

    def place(trial: TrialRecord) -> tuple[float, ...]:
        fidelity = trial.fidelity if trial.state == "stopped" else 0
        worth = -np.inf if trial.score is None or np.isnan(trial.score) else sign * trial.score
        return _RANK[trial.state], -fidelity, -worth, trial.number

    return sorted(view.trials, key=place)


def common_fidelity(trials: Sequence[TrialRecord]) -> int | None:
    """Return the highest fidelity that at least three quarters of the trials with a score reached; None without scores."""
    with_scores = [trial for trial in trials if trial.rungs]
    reached: dict[int, int] = {}
    for rung in (rung for trial in with_scores for rung in trial.rungs):
        reached[rung.fidelity] = reached.get(rung.fidelity, 0) + 1
    return max((fidelity for fidelity, count in reached.items() if 4 * count >= 3 * len(with_scores)), default=None)


def view_of(folder: Folder, sweep: Sweep | None = None, trials: Iterable[TrialRecord] | None = None) -> View:
    """Return the sweep in ``folder``.

    Args:
        folder: Folder of the sweep.
        sweep: Its sweep.json if already read.
        trials: Its trial records if already read.

    Raises:
        RequestError: There is no sweep, or a file of it is damaged.
    """
    sweep = sweep or read_sweep(folder)
    records, space = tuple(read_trials(folder) if trials is None else trials), resolved(sweep)
    for record in records:
        check_params(space, record.params, f"{folder.uri}: trial {record.number}")
    found = read_result(folder)
    return View(PurePosixPath(folder.uri).name, sweep, space, records, found and Final(found.number, found.rows))


def resolved(sweep: Sweep) -> Space:
    """Return the space that the sweep was started with; predefined spaces of the same name may have changed since."""
    return read_space(replace(sweep.config, space=tuple(f"{name}={domain}" for name, domain in sweep.space.items())))

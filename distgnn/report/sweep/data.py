"""A sweep as its report sees it: the space, the trials with their scores in validation, and the last look at the winner."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import NamedTuple

from distgnn.config.base import read_json
from distgnn.errors import RequestError
from distgnn.search.domains import Choice, Range, Value
from distgnn.search.records import State, Sweep, TrialRecord, read_sweep, read_trials
from distgnn.search.space import Params, Space, read_space
from distgnn.search.winner import RESULT, WINNER, Look
from distgnn.storage.folder import Folder

_MANY = 12
"""A range of more values than these is drawn as a line of numbers, not as a list of choices."""


class Final(NamedTuple):
    """The last look of a sweep: the number of its winner, and sides of which the first is the winner, the second the default."""

    number: int
    sides: tuple[Look, ...]


@dataclass(frozen=True)
class View:
    """A sweep, running or ended.

    name: of its folder. space: what its fields may be. final: None before the end.
    """

    name: str
    sweep: Sweep
    space: Space
    trials: tuple[TrialRecord, ...]
    final: Final | None = None

    @property
    def higher_is_better(self) -> bool:
        """Of the score."""
        return self.sweep.mode == "max"

    @property
    def sign(self) -> int:
        """Times a score: more is better."""
        return 1 if self.higher_is_better else -1

    @property
    def default(self) -> Params:
        """The fields of the space in the configuration nobody searched."""
        return self.sweep.default

    def of(self, *states: State) -> list[TrialRecord]:
        """The trials in these states, by number."""
        return sorted((trial for trial in self.trials if trial.state in states), key=lambda trial: trial.number)


def few_points(domain: Range | Choice) -> tuple[Value, ...]:
    """Its values where they are few enough to stand side by side, else none."""
    points = domain.points()
    return points if isinstance(domain, Choice) or len(points) <= _MANY else ()


def score_at(trial: TrialRecord, fidelity: int) -> float | None:
    """The trial's score at that rung (the last time it was there); None where it never came to it."""
    return next((rung.score for rung in reversed(trial.rungs) if rung.fidelity == fidelity), None)


def view_of(folder: Folder, sweep: Sweep | None = None, trials: Iterable[TrialRecord] | None = None) -> View:
    """The sweep in ``folder``; what the caller has in memory is not read again. Raises RequestError where there is none."""
    sweep = sweep or read_sweep(folder)
    records = tuple(read_trials(folder) if trials is None else trials)
    return View(PurePosixPath(folder.uri).name, sweep, resolved(sweep), records, _final(folder.sub(WINNER)))


def resolved(sweep: Sweep) -> Space:
    """Its space as it was when the sweep was made; what a ready-made one is today does not matter."""
    return read_space(replace(sweep.config, space=tuple(f"{name}={told}" for name, told in sweep.space.items())))


def _final(folder: Folder) -> Final | None:
    """winner/result.json; None where the sweep has not come to it."""
    if folder.size(RESULT) is None:
        return None
    try:
        data = read_json(folder.read(RESULT))
        sides = (
            Look(str(r["name"]), tuple(map(float, r["validation"])), tuple(map(float, r["test"]))) for r in data["rows"]
        )
        return Final(int(data["number"]), tuple(sides))
    except RequestError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{folder.at(RESULT)}: not the result of a sweep ({type(error).__name__}: {error})"
        ) from error

"""Who proposes trials: Optuna's TPE, random, a grid. A proposal is a function of (seed, number, what is known), with no state.

So a sweep that was stopped proposes what it would have proposed, and one trial at a time gives the same trials every time.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from distgnn.graph.keyed import draw, key, unit_interval
from distgnn.graph.purposes import SearchDraw
from distgnn.search.domains import Choice, Range, Value
from distgnn.search.records import TrialRecord
from distgnn.search.space import Params, Space, grid

_RESAMPLE, _FACTORS = 0.25, (0.8, 1.2)
_STATES = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True)
class Proposals:
    """What trials get. searcher: tpe, random or grid. mode: of the score, "max" or "min". n_startup_trials: as in TuneConfig.

    seconds: whether tpe also looks for short trials.
    """

    space: Space
    searcher: str
    seed: int
    mode: str
    n_startup_trials: int = 8
    seconds: bool = False

    def propose(self, number: int, known: Sequence[TrialRecord]) -> Params:
        """The parameters of trial ``number``, given the other trials so far (those that run count as not promising to tpe)."""
        if self.searcher == "grid":
            return self._point(number)
        if self.searcher == "random":
            return drawn(self.space, key(self.seed, SearchDraw.RANDOM, number))
        return self._tpe(number, known)

    def _point(self, number: int) -> Params:
        points, _ = grid(self.space)
        found: Params = {}
        for dotted, values in reversed(points.items()):  # the last field varies fastest
            number, place = divmod(number, len(values))
            found[dotted] = values[place]
        return {dotted: found[dotted] for dotted in self.space}

    def _tpe(self, number: int, known: Sequence[TrialRecord]) -> Params:
        distributions = {dotted: distribution(domain) for dotted, domain in self.space.items()}
        with warnings.catch_warnings():  # optuna calls what we use of it (constant_liar, multivariate) experimental
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=self.n_startup_trials,
                multivariate=True,
                constant_liar=True,
                seed=key(self.seed, SearchDraw.TPE, number) % 2**32,
            )
        directions: list[Any] = ["maximize" if self.mode == "max" else "minimize", "minimize"][: 1 + self.seconds]
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            study = optuna.create_study(sampler=sampler, directions=directions)
            study.add_trials([self._told(record, distributions) for record in sorted(known, key=_number)])
            asked = study.ask(distributions).params
        finally:
            optuna.logging.set_verbosity(verbosity)
        return {dotted: _settled(domain, asked[dotted]) for dotted, domain in self.space.items()}

    def _told(self, record: TrialRecord, distributions: dict[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
        state = _STATES.get(record.state, TrialState.RUNNING)
        values = [record.score, record.seconds][: 1 + self.seconds]
        steps = {} if self.seconds else {rung.fidelity: rung.score for rung in record.rungs}
        return optuna.trial.create_trial(
            state=state,
            params=dict(record.params),
            distributions=distributions,
            values=cast(Any, values) if state is TrialState.COMPLETE else None,
            intermediate_values=steps,
        )


def drawn(space: Space, at: int) -> Params:
    """A point of ``space``, every field evenly (in the logarithm where it says so); a function of the key ``at``."""
    shares = unit_interval(draw(at, np.arange(len(space))))
    return {dotted: _place(domain, float(share)) for (dotted, domain), share in zip(space.items(), shares, strict=True)}


def explored(space: Space, params: Params, *parts: int) -> Params:
    """PBT's exploration (Jaderberg et al., 2017): each value drawn anew with probability 1/4, else a number times 0.8 or 1.2 (kept
    within its range; at least a step further where it has steps) and a choice as it is; a function of the numbers ``parts``."""
    at = key(SearchDraw.EXPLORE, *parts)
    anew, words = (
        drawn(space, key(at, SearchDraw.ANEW)),
        unit_interval(draw(at, np.arange(2 * len(space)))).reshape(-1, 2),
    )
    return {
        dotted: anew[dotted] if renew < _RESAMPLE else _moved(domain, params[dotted], up >= 0.5)
        for (dotted, domain), (renew, up) in zip(space.items(), words, strict=True)
    }


def _moved(domain: Range | Choice, value: Value, up: bool) -> Value:
    if isinstance(domain, Choice) or isinstance(value, str):
        return value
    points = domain.points()
    if points:
        place = points.index(value) + (1 if up else -1)
        return points[min(max(place, 0), len(points) - 1)]
    return domain.number(min(max(value * _FACTORS[int(up)], domain.low), domain.high))


def _place(domain: Range | Choice, share: float) -> Value:
    points = domain.points()
    if points:
        return points[int(share * len(points))]
    if isinstance(domain, Range) and domain.log:
        spread = 0.5 if domain.kind == "int" else 0.0  # the ends of whole numbers get as much room as the others
        low, high = np.log(domain.low - spread), np.log(domain.high + spread)
        return domain.number(min(max(float(np.exp(low + share * (high - low))), domain.low), domain.high))
    low, high = cast(Range, domain).low, cast(Range, domain).high
    return low + share * (high - low)


def distribution(domain: Range | Choice) -> BaseDistribution:
    """``domain`` as Optuna has it."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if domain.kind == "int":
        return IntDistribution(int(domain.low), _last(domain, int), domain.log, int(domain.step or 1))
    return FloatDistribution(domain.low, _last(domain, float), domain.log, domain.step or None)


def _last(domain: Range, kind: type) -> Any:
    """The last value that steps from ``low`` meet (optuna warns where ``high`` is none)."""
    return kind(domain.points()[-1] if domain.step else domain.high)


def _settled(domain: Range | Choice, value: Any) -> Value:
    """As the domain has it: optuna's steps differ from ours in the last bit."""
    if isinstance(domain, Choice):
        return value
    return domain.nearest(value)


def _number(record: TrialRecord) -> int:
    return record.number

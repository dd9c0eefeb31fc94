"""Tree-structured Parzen estimator (TPE) of Optuna."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import product
from typing import Any, cast

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from distgnn import register
from distgnn.graph.keyed import key
from distgnn.graph.purposes import SearchDraw
from distgnn.search.domains import Choice, Range, Value
from distgnn.search.records import TrialRecord
from distgnn.search.searchers.base import Searcher
from distgnn.search.space import Params

_ATTEMPTS = 8
"""Times that Optuna is asked for a configuration that has not been tried."""
_STATES = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


@register.searcher("tpe")
class TpeSearcher(Searcher):
    """Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011)."""

    def propose(self, number: int, known: Sequence[TrialRecord]) -> Params:
        """See :class:`Searcher`. Running trials are assumed to score badly (``constant_liar``).

        Training is deterministic, so a configuration that has been tried is not proposed again while there is another one:
        Optuna is asked again with other random numbers, then the first untried point of a finite space is taken.
        """
        tried = [record.params for record in known]
        proposed = self._ask(known, number)
        for again in range(1, _ATTEMPTS):
            if proposed not in tried:
                return proposed
            proposed = self._ask(known, number, again)
        points = product(*(domain.points() for domain in self.context.space.values()))
        candidates = (dict(zip(self.context.space, point, strict=True)) for point in points)
        return next((params for params in candidates if params not in tried), proposed)

    def _ask(self, known: Sequence[TrialRecord], *numbers: int) -> Params:
        """Ask Optuna once, with random numbers of ``numbers``."""
        context = self.context
        distributions = {dotted: distribution(domain) for dotted, domain in context.space.items()}
        with warnings.catch_warnings():  # constant_liar and multivariate are experimental in Optuna
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=context.n_startup_trials,
                multivariate=True,
                constant_liar=True,
                seed=key(context.seed, SearchDraw.TPE, *numbers) % 2**32,
            )
        directions: list[Any] = ["maximize" if context.mode == "max" else "minimize", "minimize"][: 1 + context.seconds]
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            study = optuna.create_study(sampler=sampler, directions=directions)
            study.add_trials([self._frozen(record, distributions) for record in sorted(known, key=_number)])
            proposed = study.ask(distributions).params
        finally:
            optuna.logging.set_verbosity(verbosity)
        return {dotted: _value_of(domain, proposed[dotted]) for dotted, domain in context.space.items()}

    def _frozen(self, record: TrialRecord, distributions: dict[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
        context = self.context
        state = _STATES.get(record.state, TrialState.RUNNING)
        values = [record.score, record.seconds][: 1 + context.seconds]
        steps = {} if context.seconds else {rung.fidelity: rung.score for rung in record.rungs}
        return optuna.trial.create_trial(
            state=state,
            params=dict(record.params),
            distributions=distributions,
            values=cast(Any, values) if state is TrialState.COMPLETE else None,
            intermediate_values=steps,
        )


def distribution(domain: Range | Choice) -> BaseDistribution:
    """Convert ``domain`` to an Optuna distribution."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if domain.kind == "int":
        return IntDistribution(int(domain.low), _last(domain, int), domain.log, int(domain.step or 1))
    return FloatDistribution(domain.low, _last(domain, float), domain.log, domain.step or None)


def _last(domain: Range, kind: type) -> Any:
    """The last point of a discrete range, else its upper bound (Optuna warns if ``high`` is not a point)."""
    return kind(domain.points()[-1] if domain.step else domain.high)


def _value_of(domain: Range | Choice, value: Any) -> Value:
    """Convert a value of Optuna to one of the domain; multiples of a step may differ by rounding."""
    if isinstance(domain, Choice):
        return value
    return domain.nearest(value)


def _number(record: TrialRecord) -> int:
    return record.number

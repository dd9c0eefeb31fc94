"""A sweep as an in-memory Optuna study: the source of its figures, of parameter importances and of its Pareto front."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial

from distgnn.report.sweep import texts
from distgnn.report.sweep.data import View, common_fidelity, score_at
from distgnn.search.records import TrialRecord
from distgnn.search.searchers.tpe import distribution

MIN_TRIALS = 6
"""Importances of fewer trials are not reported."""
_STATES = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
    "queued": TrialState.WAITING,
}


class Importance(NamedTuple):
    """Parameter importances: shares by parameter, largest first, sum 1; from the scores of ``trials`` trials at ``fidelity``."""

    shares: dict[str, float]
    trials: int
    fidelity: int


def study_of(view: View, *, seconds: bool = False) -> optuna.Study:
    """Return a study of all trials, under their own numbers and the short names of their parameters.

    Values are scores as they are printed (times 100 where higher is better).

    Args:
        view: The sweep.
        seconds: Whether the seconds of a trial are a second objective, to be minimized.
    """
    by_number = {trial.number: trial for trial in view.trials}
    study = _new_study(view, seconds)
    study.add_trials(
        [_frozen(view, by_number.get(number), seconds) for number in range(max(by_number, default=-1) + 1)]
    )
    return study


def _frozen(view: View, trial: TrialRecord | None, seconds: bool) -> FrozenTrial:
    """Return a trial for Optuna; trials without a record or with a final score that is not finite are failed trials."""
    if trial is None:
        return create_trial(state=TrialState.FAIL)
    state, names, factor = _STATES[trial.state], texts.short(view), texts.scale(view)[0]
    if state is TrialState.COMPLETE and (trial.score is None or not np.isfinite(trial.score)):
        state = TrialState.FAIL
    known = [name for name in view.space if name in trial.params]
    values: Any = [factor * (trial.score or 0.0), trial.seconds][: 1 + seconds]
    return create_trial(
        state=state,
        params={names[name]: view.space[name].clipped(trial.params[name]) for name in known},
        distributions={names[name]: distribution(view.space[name]) for name in known},
        values=values if state is TrialState.COMPLETE else None,
        intermediate_values={} if seconds else {rung.fidelity: factor * rung.score for rung in trial.rungs},
    )


def comparable_study(view: View) -> tuple[optuna.Study, int] | None:
    """Return a study of the scores at one fidelity, with the parameters that vary.

    The fidelity is the highest that at least three quarters of the trials reached, so that scores are comparable and not
    only the surviving trials count.

    Returns:
        (study, fidelity); None with fewer than MIN_TRIALS such trials, or if scores or parameters do not vary.
    """
    fidelity = common_fidelity(view.of("finished", "stopped", "running"))
    if fidelity is None:
        return None
    found = [(trial, score) for trial in view.trials if (score := _comparable_score(trial, view, fidelity)) is not None]
    varied = [name for name in view.space if len({trial.params[name] for trial, _ in found}) > 1]
    if len(found) < MIN_TRIALS or not varied or np.ptp([score for _, score in found]) == 0:
        return None
    names, study = texts.short(view), _new_study(view)
    axes = {names[name]: distribution(view.space[name]) for name in varied}
    for trial, score in found:
        params = {names[name]: view.space[name].clipped(trial.params[name]) for name in varied}
        study.add_trial(create_trial(params=params, distributions=axes, value=score))
    return study, fidelity


def evaluator() -> FanovaImportanceEvaluator:
    """Functional ANOVA (Hutter, Hoos & Leyton-Brown, ICML 2014), seeded."""
    return FanovaImportanceEvaluator(seed=0)


def importance(view: View) -> Importance | None:
    """Return each parameter's share of the variance that single parameters explain; None if there is no comparable study."""
    found = comparable_study(view)
    if found is None:
        return None
    study, fidelity = found
    shares, names = get_param_importances(study, evaluator=evaluator()), texts.short(view)
    ranked = sorted(view.space, key=lambda name: -shares.get(names[name], 0.0))
    return Importance({name: float(shares.get(names[name], 0.0)) for name in ranked}, len(study.trials), fidelity)


def _comparable_score(trial: TrialRecord, view: View, fidelity: int) -> float | None:
    """Return the trial's score at ``fidelity`` if it is finite and the trial sets all parameters of the space."""
    score = score_at(trial, fidelity) if trial.state != "failed" else None
    usable = score is not None and np.isfinite(score) and all(name in trial.params for name in view.space)
    return score if usable else None


def pareto(view: View) -> list[TrialRecord]:
    """Return the finished trials on the Pareto front of score and seconds, cheapest first."""
    front = {trial.number for trial in study_of(view, seconds=True).best_trials}
    return sorted((trial for trial in view.trials if trial.number in front), key=lambda t: (t.seconds, t.number))


def _new_study(view: View, seconds: bool = False) -> optuna.Study:
    directions: list[Any] = ["maximize" if view.higher_is_better else "minimize", "minimize"][: 1 + seconds]
    with _quiet():
        return optuna.create_study(directions=directions)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's log line for each new study."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)

"""Which parameters matter: shares of the scores' variance (functional ANOVA, Hutter, Hoos & Leyton-Brown, ICML 2014) by Optuna."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from distgnn.report.sweep.data import View, score_at
from distgnn.report.sweep.numbers import common_fidelity
from distgnn.search.records import TrialRecord
from distgnn.search.searchers.tpe import distribution

FEWEST = 6
"""Of fewer trials nobody can say what mattered."""


class Importance(NamedTuple):
    """shares: by parameter, the largest first, adding up to 1. Taken from the scores of ``trials`` trials at ``fidelity``."""

    shares: dict[str, float]
    trials: int
    fidelity: int


def importance(view: View) -> Importance | None:
    """How much of the scores' variance each parameter explains alone, as shares of what all of them explain alone.

    Taken at the highest rung that at least three quarters of the trials reached: like is compared with like, and not the survivors
    alone.
    None where fewer than FEWEST trials came there, or their scores or parameters do not differ.
    """
    fidelity = common_fidelity(view.of("finished", "stopped", "running"))
    if fidelity is None:
        return None
    found = [(trial, score) for trial in view.trials if (score := _known(trial, view, fidelity)) is not None]
    varied = [name for name in view.space if len({trial.params[name] for trial, _ in found}) > 1]
    if len(found) < FEWEST or not varied or np.ptp([score for _, score in found]) == 0:
        return None
    axes = {name: distribution(view.space[name]) for name in varied}
    with _quiet():
        study = optuna.create_study(direction="maximize" if view.higher_is_better else "minimize")
        for trial, score in found:
            params = {name: trial.params[name] for name in varied}
            study.add_trial(optuna.create_trial(params=params, distributions=axes, value=score))
        shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    rest = {name: 0.0 for name in view.space if name not in varied}
    return Importance({name: float(share) for name, share in (shares | rest).items()}, len(found), fidelity)


def _known(trial: TrialRecord, view: View, fidelity: int) -> float | None:
    """The trial's score at the rung, where it is a number and all of the space is set."""
    score = score_at(trial, fidelity) if trial.state != "failed" else None
    whole = score is not None and np.isfinite(score) and all(name in trial.params for name in view.space)
    return score if whole else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna tells of every study that is made."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)

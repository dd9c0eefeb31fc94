"""Warning after the first steps of a run."""

from __future__ import annotations

import warnings

import pytest

from distgnn.objectives.l2p.objective import L2P, L2PConfig
from distgnn.pretraining.start_check import STEPS, StartCheck
from distgnn.pretraining.step import StepResult


def feed(check: StartCheck, gains: list[float]) -> None:
    for gain in gains:
        check.add(StepResult({"adaptation_gain": (gain * 4, 4.0)}, 4, False, True))


def test_a_negative_mean_gain_warns_once_after_50_steps() -> None:
    check = StartCheck(L2P(L2PConfig(node_lr=0.3)))
    feed(check, [-200.0] + [1.0] * (STEPS - 2))
    with pytest.warns(RuntimeWarning, match=r"raises the query loss by 3.02; lower l2p.node_lr \(now 0.3\)"):
        feed(check, [1.0])
    feed(check, [-5.0] * 2 * STEPS)


@pytest.mark.parametrize("gains", [[-1.0] * 9 + [1.0] * (STEPS - 9), []])
def test_no_warning_for_a_positive_mean_or_no_adaptation(gains: list[float]) -> None:
    check = StartCheck(L2P(L2PConfig()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        feed(check, gains)
        for _ in range(STEPS):
            check.add(StepResult({"loss": (1.0, 1.0)}, 1, False, True))

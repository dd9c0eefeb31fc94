"""Order and best trial of a sweep, its Optuna study, Pareto front, and importances of a planted parameter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from optuna.trial import TrialState

from distgnn.report.sweep.data import common_fidelity, leader, ordered, score_at
from distgnn.report.sweep.study import MIN_TRIALS, importance, pareto, study_of
from distgnn.search.records import Rung, TrialRecord
from tests.helpers.sweeps import NODE_LR, NODE_STEPS, ORDER, final, planted, trial, view


def numbers(trials: list[TrialRecord]) -> list[int]:
    return [each.number for each in trials]


class TestOrder:
    TRIALS = (
        trial(0, "failed", reason="boom"),
        trial(1, "queued"),
        trial(2, "finished", 0.7),
        trial(3, "running"),
        trial(4, "stopped", 0.99),
        trial(5, "finished", 0.8),
        replace(trial(6, "stopped", 0.5), rungs=trial(6, "running", 0.5).rungs),  # came to the second rung
    )

    def test_finished_trials_come_first_then_stopped_ones_by_fidelity(self) -> None:
        assert numbers(ordered(view(list(self.TRIALS)))) == [5, 2, 6, 4, 3, 1, 0]

    def test_lower_is_better_for_errors(self) -> None:
        seen = view(list(self.TRIALS), mode="min")
        assert numbers(ordered(seen)) == [2, 5, 6, 4, 3, 1, 0]
        assert leader(seen) is self.TRIALS[2]

    def test_a_stopped_trial_never_leads(self) -> None:
        assert leader(view(list(self.TRIALS))) is self.TRIALS[5]
        assert leader(view([self.TRIALS[4], self.TRIALS[3]])) is None

    def test_the_winner_leads_once_it_is_known(self) -> None:
        assert leader(view(list(self.TRIALS), final(2))) is self.TRIALS[2]

    def test_a_sweep_without_finished_trials(self) -> None:
        seen = view([trial(0, "queued")])
        assert leader(seen) is None
        assert pareto(seen) == []


@pytest.mark.parametrize(("mode", "front"), [("max", [2, 0, 1]), ("min", [2, 3])])
def test_pareto_of_score_and_seconds(mode: str, front: list[int]) -> None:
    spent = [(0.7, 5.0), (0.8, 9.0), (0.6, 1.0), (0.5, 6.0), (0.65, 5.0)]
    trials = [trial(n, "finished", score, seconds=seconds) for n, (score, seconds) in enumerate(spent)]
    cheap = trial(5, "stopped", 0.99, seconds=0.1)  # not comparable
    assert numbers(pareto(view([*trials, cheap], mode=mode))) == front


class TestStudy:
    TRIALS = (
        trial(0, "finished", 0.7),
        trial(1, "failed", reason="boom"),
        trial(2, "stopped", 0.6),
        trial(4, "running", 0.65),
        trial(5, "queued"),
        trial(6, "finished", float("nan")),
    )

    def test_numbers_states_and_scores_are_those_of_the_records(self) -> None:
        study = study_of(view(list(self.TRIALS)))
        states = ["COMPLETE", "FAIL", "PRUNED", "FAIL", "RUNNING", "WAITING", "FAIL"]
        assert [each.state for each in study.trials] == [TrialState[name] for name in states]
        assert [each.number for each in study.trials] == list(range(7))
        assert study.trials[0].value == pytest.approx(70)
        assert study.trials[4].intermediate_values == pytest.approx({10: 55, 30: 60})
        assert study.trials[0].params == {
            name.removeprefix("pretrain."): value for name, value in self.TRIALS[0].params.items()
        }
        assert (study.best_trial.number, study.direction.name) == (0, "MAXIMIZE")

    def test_errors_are_minimized_and_not_scaled(self) -> None:
        study = study_of(view([trial(0, score=0.7), trial(1, score=0.5)], mode="min"))
        assert (study.best_trial.number, study.best_value) == (1, 0.5)


class TestCommonFidelity:
    def test_three_quarters_of_the_trials_must_have_reached_it(self) -> None:
        far, near = trial(0, "finished"), trial(1, "stopped")
        assert common_fidelity([far, far, far, near]) == 90
        assert common_fidelity([far, far, near]) == 10
        assert common_fidelity([trial(2, "queued")]) is None


def test_the_last_score_at_a_rung_counts() -> None:
    """A trial that has cloned may come to a rung again."""
    again = replace(trial(0), rungs=(Rung(10, 0.5, 1.0), Rung(30, 0.6, 1.0), Rung(10, 0.7, 1.0)))
    assert score_at(again, 10) == 0.7
    assert score_at(again, 90) is None


class TestImportance:
    @pytest.mark.parametrize("mode", ["max", "min"])
    def test_finds_the_planted_parameter(self, mode: str) -> None:
        found = importance(view(planted(), mode=mode))
        assert found is not None
        assert list(found.shares) == [NODE_LR, NODE_STEPS, ORDER]  # the order of what they do to the score
        assert found.shares[NODE_LR] > 0.7
        assert sum(found.shares.values()) == pytest.approx(1)
        assert (found.trials, found.fidelity) == (24, 10)
        assert importance(view(planted(), mode=mode)) == found

    def test_constant_parameters_have_no_importance(self) -> None:
        trials = [replace(each, params={**each.params, ORDER: 1}) for each in planted()]
        found = importance(view(trials))
        assert found is not None
        assert found.shares[ORDER] == 0

    def test_failed_trials_and_nan_do_not_count(self) -> None:
        lost = replace(trial(24, "failed"), rungs=(Rung(10, 99.0, 1.0),))
        nan = trial(25, "stopped", float("nan"))
        found, expected = importance(view([*planted(), lost, nan])), importance(view(planted()))
        assert found == expected

    def test_choices_of_every_kind(self) -> None:
        space = ("finetune.frozen={true,false}", "pretrain.encoder.kind={gin,gcn}", "finetune.batch={16,32}")
        names = [text.split("=")[0] for text in space]
        rng = np.random.default_rng(0)
        trials = []
        for number in range(16):
            params = dict(zip(names, (bool(rng.integers(2)), str(rng.choice(["gin", "gcn"])), 16), strict=True))
            trials.append(trial(number, score=0.5 + 0.3 * params[names[0]], params=params))
        found = importance(view(trials, space=space))
        assert found is not None
        assert list(found.shares) == names
        assert found.shares[names[0]] > 0.8

    @pytest.mark.parametrize("trials", [[], planted(MIN_TRIALS - 1), [trial(n, score=0.7) for n in range(9)]])
    def test_too_few_trials_have_no_importances(self, trials: list[TrialRecord]) -> None:
        assert importance(view(trials)) is None

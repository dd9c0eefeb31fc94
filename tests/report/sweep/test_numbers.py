"""Who leads a sweep, what its Pareto front is, and which parameters mattered: against slow references and planted truths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distgnn.report.sweep import axes
from distgnn.report.sweep.data import score_at
from distgnn.report.sweep.importance import FEWEST, importance
from distgnn.report.sweep.numbers import best_so_far, by_end, common_fidelity, leader, not_dominated, ordered, pareto
from distgnn.report.sweep.places import Places
from distgnn.search.domains import Choice, Range
from distgnn.search.records import Rung, TrialRecord
from tests.helpers.sweeping import proposer
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

    def test_the_finished_lead_and_the_stopped_follow_by_how_far_they_came(self) -> None:
        assert numbers(ordered(view(list(self.TRIALS)))) == [5, 2, 6, 4, 3, 1, 0]

    def test_less_is_better_for_errors(self) -> None:
        seen = view(list(self.TRIALS), mode="min")
        assert numbers(ordered(seen)) == [2, 5, 6, 4, 3, 1, 0]
        assert leader(seen) is self.TRIALS[2]

    def test_a_stopped_trial_never_leads(self) -> None:
        assert leader(view(list(self.TRIALS))) is self.TRIALS[5]
        assert leader(view([self.TRIALS[4], self.TRIALS[3]])) is None

    def test_the_winner_leads_once_it_is_known(self) -> None:
        assert leader(view(list(self.TRIALS), final(2))) is self.TRIALS[2]

    def test_best_so_far(self) -> None:
        ends = {2: 30.0, 5: 20.0, 4: 10.0, 6: 40.0}
        trials = [replace(each, ended=ends.get(each.number)) for each in self.TRIALS]
        for mode, expected in (("max", [np.nan, 0.8, 0.8, 0.8]), ("min", [np.nan, 0.8, 0.7, 0.7])):
            seen = view(trials, mode=mode)
            assert numbers(by_end(seen)) == [4, 5, 2, 6]
            np.testing.assert_array_equal(best_so_far(seen), expected)

    def test_nothing_yet(self) -> None:
        seen = view([trial(0, "queued")])
        assert best_so_far(seen).shape == (0,)
        assert pareto(seen) == []


costs = st.integers(1, 3).flatmap(
    lambda columns: st.lists(st.lists(st.integers(0, 4), min_size=columns, max_size=columns), min_size=1, max_size=12)
)


@given(costs)
def test_front_is_what_no_other_beats(rows: list[list[int]]) -> None:
    def beats(one: list[int], other: list[int]) -> bool:
        pairs = list(zip(one, other, strict=True))
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    slow = [not any(beats(one, other) for one in rows) for other in rows]
    assert not_dominated(np.array(rows, dtype=np.float64)).tolist() == slow


@pytest.mark.parametrize(("mode", "front"), [("max", [2, 0, 1]), ("min", [2, 3])])
def test_pareto_of_score_and_seconds(mode: str, front: list[int]) -> None:
    spent = [(0.7, 5.0), (0.8, 9.0), (0.6, 1.0), (0.5, 6.0), (0.65, 5.0)]
    trials = [trial(n, "finished", score, seconds=seconds) for n, (score, seconds) in enumerate(spent)]
    cheap = trial(5, "stopped", 0.99, seconds=0.1)  # not comparable
    assert numbers(pareto(view([*trials, cheap], mode=mode))) == front


class TestCommonFidelity:
    def test_three_quarters_must_have_come_there(self) -> None:
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

    def test_what_never_varied_has_none(self) -> None:
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

    @pytest.mark.parametrize("trials", [[], planted(FEWEST - 1), [trial(n, score=0.7) for n in range(9)]])
    def test_nothing_is_said_of_too_little(self, trials: list[TrialRecord]) -> None:
        assert importance(view(trials)) is None


class TestPlaces:
    @given(st.lists(st.floats(1e-4, 1e-1), min_size=2, max_size=2, unique=True))
    def test_a_log_range(self, values: list[float]) -> None:
        low, high = Places(Range("float", 1e-4, 1e-1, log=True)).of(sorted(values))
        assert 0 <= low <= high <= 1

    def test_ends_and_middles(self) -> None:
        log = Places(Range("float", 1e-4, 1e-2, log=True))
        np.testing.assert_allclose(log.of([1e-4, 1e-3, 1e-2]), [0, 0.5, 1], atol=1e-12)
        assert [text for _, text in log.ticks()] == ["0.0001", "0.001", "0.01"]
        even = Places(Range("float", 0, 2))
        assert even.of([0.5]).tolist() == [0.25]
        assert [text for _, text in even.ticks()] == ["0", "0.5", "1", "1.5", "2"]

    def test_a_log_range_within_a_power_of_ten(self) -> None:
        assert [text for _, text in Places(Range("float", 2e-3, 5e-3, log=True)).ticks()] == ["0.002", "0.005"]

    def test_choices_and_few_whole_numbers_stand_apart(self) -> None:
        assert Places(Choice(("gin", "gcn"))).of(["gcn", "gin"]).tolist() == [0.75, 0.25]
        assert Places(Range("int", 0, 3)).of([0, 3]).tolist() == [0.125, 0.875]
        assert [text for _, text in Places(Range("int", 4, 20, step=8)).ticks()] == ["4", "12", "20"]

    def test_steps_that_differ_in_the_last_bit(self) -> None:
        domain = Range("float", 0.0, 0.6, step=0.1)
        assert domain.points() == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
        places = Places(domain)
        np.testing.assert_array_equal(places.of([0.1 + 0.2, 6 * 0.1]), places.of([0.3, 0.6]))
        proposals = proposer({"finetune.dropout": domain}, "tpe", 0, "max")
        assert {proposals.propose(number, [])["finetune.dropout"] for number in range(20)} <= set(domain.points())

    def test_many_whole_numbers_are_a_range(self) -> None:
        assert Places(Range("int", 0, 100)).of([0, 50, 100]).tolist() == [0, 0.5, 1]

    def test_a_range_of_one_number(self) -> None:
        assert Places(Range("float", 0.5, 0.5)).of([0.5]).tolist() in ([0.0], [0.5])

    def test_a_default_of_zero_is_left_of_a_log_scale(self) -> None:
        assert Places(Range("float", 1e-4, 1e-2, log=True)).of([0.0]).tolist() == [-np.inf]
        seen = view(planted())
        axes.slices(replace(seen, sweep=replace(seen.sweep, default=seen.sweep.default | {NODE_LR: 0.0})))

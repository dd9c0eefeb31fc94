"""Decisions of ASHA, the median rule and population-based training, as functions of the records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from distgnn.search.records import Clone, Rung, Sweep, TrialRecord
from distgnn.search.schedulers import decide
from tests.helpers.sweeping import tuning


def sweep_of(scheduler: str, mode: Any = "max", rungs: tuple[int, ...] = (1, 3, 9), **options: Any) -> Sweep:
    config = tuning("corpus", "out", scheduler=scheduler, **options)
    return Sweep(config, "score", mode, rungs, {}, {}, 8, 0.0)


def trial(number: int, *rungs: tuple[int, float], **changes: Any) -> TrialRecord:
    params = {"pretrain.l2p.node_lr": 0.01 * (number + 1), "finetune.lr": 0.02}
    record = TrialRecord(number, params, "running", 1, rungs=tuple(Rung(*rung, 1.0) for rung in rungs))
    return replace(record, **changes)


def at_first_rung(*scores: float) -> list[TrialRecord]:
    return [trial(number, (1, score)) for number, score in enumerate(scores)]


@pytest.mark.parametrize("scheduler", ["none", "asha", "median", "pbt"])
def test_the_budget_finishes_a_trial(scheduler: str) -> None:
    others = [trial(number, (1, 0.9), (3, 0.9), (9, 0.9)) for number in range(4)]
    record = trial(4, (1, 0.1), (3, 0.1), (9, 0.1))
    assert decide(sweep_of(scheduler), record, others) == replace(record, state="finished")


def test_no_scheduler_stops_nothing() -> None:
    record = trial(9, (1, 0.0))
    assert decide(sweep_of("none"), record, at_first_rung(0.9, 0.9, 0.9, 0.9)) == record


class TestAsha:
    @pytest.mark.parametrize(("score", "state"), [(0.59, "stopped"), (0.61, "running")])
    @pytest.mark.parametrize("mode", ["max", "min"])
    def test_keeps_the_top_fraction_of_a_rung(self, mode: str, score: float, state: str) -> None:
        others, sign = at_first_rung(0.0, 0.3, 0.6, 0.9), 1 if mode == "max" else -1
        others = [trial(t.number, (1, sign * t.rungs[0].score)) for t in others]
        assert decide(sweep_of("asha", mode), trial(9, (1, sign * score)), others).state == state

    def test_reduction_factor(self) -> None:
        """Half of the trials pass a rung instead of a third."""
        record, others = trial(9, (1, 0.5)), at_first_rung(0.0, 0.3, 0.6, 0.9)
        assert decide(sweep_of("asha", reduction_factor=3), record, others).state == "stopped"
        assert decide(sweep_of("asha", reduction_factor=2), record, others).state == "running"

    def test_compares_at_the_same_rung_only(self) -> None:
        others = [trial(0, (1, 0.9), (3, 0.5)), trial(1, (1, 0.9))]
        assert decide(sweep_of("asha"), trial(9, (1, 0.8), (3, 0.6)), others).state == "running"

    def test_the_first_at_a_rung_continues(self) -> None:
        assert decide(sweep_of("asha"), trial(9, (1, 0.8), (3, 0.0)), at_first_rung(0.9, 0.9)).state == "running"

    def test_ended_trials_count(self) -> None:
        others = [
            trial(number, (1, 0.9), state=state) for number, state in enumerate(("stopped", "finished", "failed"))
        ]
        assert decide(sweep_of("asha"), trial(9, (1, 0.1)), others).state == "stopped"

    def test_undefined_scores_are_ignored(self) -> None:
        assert decide(sweep_of("asha"), trial(9, (1, 0.1)), at_first_rung(np.nan, np.nan)).state == "running"

    def test_the_decisions_of_ray(self) -> None:
        """Equal to the decisions of ray.tune.schedulers.ASHAScheduler on random scores."""
        schedulers = pytest.importorskip("ray.tune.schedulers")
        rungs, generator = (1, 3, 9, 20), np.random.default_rng(0)
        ray = schedulers.ASHAScheduler("t", "score", "max", max_t=20, grace_period=1, reduction_factor=3)
        records = [trial(number) for number in range(40)]
        for record in records:
            ray.on_trial_add(None, _RayTrial(record.number))
        for fidelity in rungs[:-1]:
            for number, record in enumerate(records):
                if record.state == "running":
                    score = float(generator.random())
                    decision = ray.on_trial_result(None, _RayTrial(number), {"t": fidelity, "score": score})
                    with_rung_record = record.with_rung(Rung(fidelity, score, 1.0))
                    others = [other for other in records if other.number != number]
                    records[number] = decide(sweep_of("asha", rungs=rungs), with_rung_record, others)
                    assert (decision == "STOP") == (records[number].state == "stopped")
        assert {record.state for record in records} == {"running", "stopped"}


class _RayTrial:
    """Attributes of a trial that Ray's scheduler reads."""

    def __init__(self, number: int) -> None:
        self.trial_id = str(number)


class TestMedian:
    @pytest.mark.parametrize(("score", "state"), [(0.39, "stopped"), (0.4, "running")])
    def test_stops_below_the_median_of_means(self, score: float, state: str) -> None:
        others = [trial(0, (1, 0.0), (3, 0.2)), trial(1, (1, 0.2), (3, 0.6)), trial(2, (1, 1.0), (3, 1.0))]
        assert decide(sweep_of("median"), trial(9, (1, 0.1), (3, score)), others).state == state

    def test_the_best_score_counts(self) -> None:
        others = [trial(number, (1, 0.5), (3, 0.5)) for number in range(3)]
        assert decide(sweep_of("median"), trial(9, (1, 0.6), (3, 0.1)), others).state == "running"

    def test_later_rungs_do_not_count(self) -> None:
        others = [trial(number, (1, 0.1), (3, 0.9)) for number in range(3)]
        assert decide(sweep_of("median"), trial(9, (1, 0.2)), others).state == "running"

    def test_trials_behind_do_not_count(self) -> None:
        others = [trial(0, (1, 0.9)), *(trial(number, (1, 0.9), (3, 0.9)) for number in (1, 2))]
        assert decide(sweep_of("median"), trial(9, (1, 0.1), (3, 0.1)), others).state == "running"

    def test_lower_is_better(self) -> None:
        others = at_first_rung(0.2, 0.2, 0.2)
        assert decide(sweep_of("median", "min"), trial(9, (1, 0.3)), others).state == "stopped"
        assert decide(sweep_of("median", "min"), trial(9, (1, 0.1)), others).state == "running"


class TestPopulation:
    def decided(self, record: TrialRecord, others: list[TrialRecord], **options: Any) -> TrialRecord:
        return decide(sweep_of("pbt", rungs=(3, 6, 9), **options), record, others)

    def test_the_lower_quantile_clones_the_upper(self) -> None:
        others = [trial(number, (3, 0.1 * number)) for number in range(1, 8)]
        record = self.decided(trial(0, (3, 0.0)), others)
        clone = record.clones[-1]
        assert clone.of in (6, 7)
        assert (clone.segment, clone.at, clone.after, record.state) == (0, 3, 1, "running")
        assert record.params == clone.params
        for number in (0, 5, 7):
            group = [trial(other, (3, 0.1 * other)) for other in range(8) if other != number]
            assert bool(self.decided(trial(number, (3, 0.1 * number)), group).clones) == (number == 0)

    def test_lower_is_better(self) -> None:
        others = [trial(1, (3, 0.1)), trial(2, (3, 0.2)), trial(3, (3, 0.3))]
        sweep = sweep_of("pbt", "min", (3, 6, 9))
        assert decide(sweep, trial(0, (3, 0.9)), others).clones[-1].of == 1
        assert not decide(sweep, trial(0, (3, 0.0)), others).clones

    def test_a_clone_depends_on_the_seed_only(self) -> None:
        others = [trial(number, (3, 0.1 * number)) for number in range(1, 8)]
        found = [self.decided(trial(0, (3, 0.0)), others, seed=seed) for seed in (0, 0, 1)]
        assert found[0] == found[1]
        assert found[0].params != found[2].params

    def test_only_running_trials_with_a_rung_are_cloned(self) -> None:
        ended = [trial(number, (3, 0.9), state=state) for number, state in ((1, "failed"), (2, "finished"))]
        assert not self.decided(trial(0, (3, 0.0)), [*ended, trial(3)]).clones

    def test_a_trial_that_has_just_cloned_is_not_cloned(self) -> None:
        """Its checkpoint is copied when its process starts."""
        cloning = trial(1, (3, 0.5), clones=(Clone(2, 0, 3, 1, {}),))
        assert not self.decided(trial(0, (3, 0.0)), [cloning]).clones
        reported = replace(cloning, rungs=(*cloning.rungs, Rung(6, 0.5, 1.0)))
        clone = self.decided(trial(0, (3, 0.0)), [reported]).clones[-1]
        assert (clone.segment, clone.at) == (1, 6)

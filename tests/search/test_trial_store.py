"""What the driver of a sweep writes and hands out, and what trials may take of a cluster; without a Ray that runs."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distgnn.errors import RequestError
from distgnn.scale.tune.capacity import Node, Room, room
from distgnn.scale.tune.schedulers import NUMBER, scheduler_of, told
from distgnn.search.records import Rung, Sweep, read_trials
from distgnn.search.sweep import new_sweep, proposals_of
from distgnn.search.trial_store import Ledger
from tests.helpers.sweeping import tuning


class Sessions:
    """A sweep's ledger, made anew from the folder as often as wanted."""

    def __init__(self, corpus: str, tmp_path: Path, **options: Any) -> None:
        self.folder, self.sweep = new_sweep(tuning(corpus, str(tmp_path / "sweep"), **options))
        self.shown: list[int] = []

    def ledger(self, concurrency: int = 1, **changes: Any) -> Ledger:
        sweep: Sweep = replace(self.sweep, **changes)
        known = read_trials(self.folder)
        return Ledger(self.folder, sweep, proposals_of(sweep), known, concurrency, lambda t: self.shown.append(len(t)))


class TestLedger:
    def test_a_killed_session_loses_and_repeats_nothing(self, corpus: str, tmp_path: Path) -> None:
        """Killed after every single change, a sweep has the trials of one that was left alone."""
        alone = Sessions(corpus, tmp_path / "alone", trials=3)
        ledger = alone.ledger()
        while (record := ledger.next()) is not None:
            ledger.reached(record.number, Rung(9, float(record.number), 1.0))
            ledger.ended(record.number)
        assert ledger.over
        killed = Sessions(corpus, tmp_path / "killed", trials=3)
        begun: list[tuple[int, int]] = []
        for number in range(3):
            record = killed.ledger().next()  # killed while the trial ran
            assert record is not None
            begun.append((record.number, record.tries))
            ledger = killed.ledger()
            again = ledger.next()
            assert again == record
            assert ledger.next() is None  # one at a time
            ledger.reached(number, Rung(9, float(number), 1.0))  # killed before its end was heard of
        assert begun == [(0, 1), (1, 1), (2, 1)]
        assert killed.ledger().over
        assert [(t.params, t.rungs, t.state) for t in read_trials(killed.folder)] == [
            (t.params, t.rungs, t.state) for t in read_trials(alone.folder)
        ]

    def test_failures_come_again_then_stay_with_their_reason(self, corpus: str, tmp_path: Path) -> None:
        ledger = Sessions(corpus, tmp_path, trials=2, retries=1).ledger()
        for tries in (1, 2):
            record = ledger.next()
            assert record is not None
            assert (record.number, record.tries, record.reason) == (0, tries, "")
            ledger.failed(0, "lost\n  a node", refused=False)
        record = ledger.next()
        assert record is not None
        ledger.failed(1, "l2p does not fit", refused=True)
        assert ledger.next() is None
        assert ledger.over
        assert [(t.state, t.reason, t.tries) for t in ledger.trials()] == [
            ("failed", "lost a node", 2),
            ("failed", "l2p does not fit", 1),
        ]

    def test_more_retries_and_trials_later(self, corpus: str, tmp_path: Path) -> None:
        sessions = Sessions(corpus, tmp_path, trials=1, retries=0)
        ledger = sessions.ledger()
        ledger.next()
        ledger.failed(0, "why", refused=False)
        assert sessions.ledger().over
        more = sessions.ledger(concurrency=2, config=replace(sessions.sweep.config, retries=1), trials=2)
        assert [record.number for record in (more.next(), more.next()) if record] == [0, 1]

    def test_stopping_leaves_trials_to_go_on(self, corpus: str, tmp_path: Path) -> None:
        sessions = Sessions(corpus, tmp_path, trials=3)
        ledger = sessions.ledger(concurrency=0)
        ledger.next()
        ledger.next()
        ledger.reached(0, Rung(9, 0.5, 1.0))
        ledger.reached(1, Rung(3, 0.5, 1.0))
        ledger.stopping = True
        assert ledger.next() is None
        ledger.ended(0)
        ledger.ended(1)
        ledger.failed(1, "killed", refused=False)
        assert [t.state for t in ledger.trials()] == ["finished", "running"]
        assert ledger.over

    def test_clones_and_rungs(self, corpus: str, tmp_path: Path) -> None:
        ledger = Sessions(corpus, tmp_path, trials=2, scheduler="pbt", grace_period=3).ledger(concurrency=0)
        ledger.next()
        ledger.next()
        for number in (0, 1):
            ledger.reached(number, Rung(3, number, 1.0))
            ledger.reached(number, Rung(3, 9.0, 1.0))  # told twice
        ledger.cloned(0, 1, 3)
        record = ledger.records[0]
        assert (record.reached, record.clones[-1].of, record.clones[-1].segment) == (3, 1, 0)
        assert record.params == record.clones[-1].params
        assert record.params != ledger.records[1].params
        ledger.reached(0, Rung(6, 0.5, 1.0))
        assert [rung.fidelity for rung in ledger.records[0].rungs] == [3, 6]
        ledger.cloned(1, 0, 6)
        assert ledger.records[1].clones[-1].segment == 1

    def test_nothing_of_it_is_pickled(self, corpus: str, tmp_path: Path) -> None:
        assert vars(pickle.loads(pickle.dumps(Sessions(corpus, tmp_path).ledger()))) == {}


class FakeTrial:
    """What a scheduler looks at."""

    def __init__(self, number: int, trial_id: str = "") -> None:
        self.config, self.trial_id, self.status = {NUMBER: number}, trial_id or f"t{number}", "RUNNING"


class Controller:
    """What schedulers ask."""

    search_alg = None

    def get_live_trials(self) -> list[Any]:
        return []


class TestSchedulers:
    @pytest.mark.parametrize("scheduler", ["asha", "median"])
    def test_bad_ones_are_stopped_also_after_a_kill(self, corpus: str, tmp_path: Path, scheduler: str) -> None:
        sessions = Sessions(corpus, tmp_path, trials=5, scheduler=scheduler)
        ledger = sessions.ledger(concurrency=0)
        judge: Any = scheduler_of(ledger)
        for number in range(4):
            ledger.next()
            trial = FakeTrial(number)
            judge.on_trial_add(Controller(), trial)
            assert judge.on_trial_result(Controller(), trial, told(Rung(1, 0.9, 1.0))) == "CONTINUE"
            judge.on_trial_result(Controller(), trial, told(Rung(9, 0.9, 1.0)))
            ledger.ended(number)
        assert [record.state for record in ledger.trials()] == ["finished"] * 4
        again = sessions.ledger(concurrency=0)  # another session
        judge = scheduler_of(again)
        record = again.next()
        assert record is not None
        trial = FakeTrial(record.number)
        judge.on_trial_add(Controller(), trial)
        assert judge.on_trial_result(Controller(), trial, told(Rung(1, 0.1, 1.0))) == "STOP"
        assert again.records[4].rungs == (Rung(1, 0.1, 1.0),)
        assert again.records[4].state == "stopped"  # already, should the driver be killed now

    def test_a_trial_that_goes_on_is_not_judged_again(self, corpus: str, tmp_path: Path) -> None:
        sessions = Sessions(corpus, tmp_path, trials=2, scheduler="asha")
        ledger = sessions.ledger(concurrency=0)
        for number, score in ((0, 0.9), (1, 0.1)):
            ledger.next()
            ledger.reached(number, Rung(1, score, 1.0))
        ledger.reached(0, Rung(9, 0.9, 1.0))
        again = sessions.ledger(concurrency=0)
        judge: Any = scheduler_of(again)
        again.next()
        trial = FakeTrial(1, "new")
        judge.on_trial_add(Controller(), trial)
        assert judge.on_trial_result(Controller(), trial, told(Rung(3, 0.1, 1.0))) == "CONTINUE"  # the first at 3


NODES = [Node(4, 0), Node(8, 2)]


class TestRoom:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, Room(1.0, 0.0, 12)),
            ({"cpus_per_trial": 0.5}, Room(0.5, 0.0, 24)),
            ({"cpus_per_trial": 3.0}, Room(3.0, 0.0, 3)),
            ({"gpus_per_trial": 1.0}, Room(1.0, 1.0, 2)),
            ({"gpus_per_trial": 0.5}, Room(1.0, 0.5, 4)),
            ({"gpus_per_trial": 0.4}, Room(1.0, 0.4, 4)),
            ({"concurrency": 5}, Room(1.0, 0.0, 5)),
            ({"workers_per_trial": 2}, Room(0.1, 0.0, 3)),
            ({"workers_per_trial": 3, "cpus_per_trial": 2.0}, Room(0.1, 0.0, 1)),
            ({"workers_per_trial": 2, "gpus_per_trial": 1.0}, Room(0.1, 0.0, 1)),
        ],
    )
    def test_arithmetic(self, corpus: str, options: dict[str, Any], expected: Room) -> None:
        assert room(tuning(corpus, "out", **options), NODES) == expected

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"cpus_per_trial": 9.0}, "fits no node; the largest of the Ray cluster's 2 has 8 CPUs and 2 GPUs"),
            ({"gpus_per_trial": 3.0}, "gpus_per_trial=3: a trial fits no node"),
            ({"concurrency": 13}, "12 CPUs and 2 GPUs, room for 12"),
            (
                {"workers_per_trial": 3, "cpus_per_trial": 4.0},
                r"3 x cpus_per_trial=4 \+ 1 CPU for reading .* = 13.1 CPUs and 0 GPUs, but .* 12 and 2",
            ),
            ({"workers_per_trial": 2, "gpus_per_trial": 0.5}, "whole GPUs, one each; give 1 or 0"),
        ],
    )
    def test_refusals(self, corpus: str, options: dict[str, Any], message: str) -> None:
        with pytest.raises(RequestError, match=message):
            room(tuning(corpus, "out", **options), NODES)

    def test_a_gpu_must_be_reserved(self, corpus: str) -> None:
        config = tuning(corpus, "out")
        with pytest.raises(RequestError, match="trials get no GPU"):
            room(replace(config, finetune=replace(config.finetune, device="cuda")), NODES)

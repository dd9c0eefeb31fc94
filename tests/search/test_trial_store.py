"""The trial store without Ray: records, and the next trial, across sessions and kills."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

from distgnn.search.records import Rung, Sweep, TrialRecord, read_trials
from distgnn.search.sweep import new_sweep, proposals_of
from distgnn.search.trial_store import TrialStore
from tests.helpers.sweeping import tuning


class Sessions:
    """A sweep, with a new store from its folder for each session."""

    def __init__(self, corpus: str, tmp_path: Path, **options: Any) -> None:
        self.folder, self.sweep = new_sweep(tuning(corpus, str(tmp_path / "sweep"), **options))
        self.shown: list[int] = []

    def store(self, concurrency: int = 8, **changes: Any) -> TrialStore:
        sweep: Sweep = replace(self.sweep, **changes)
        known = read_trials(self.folder)
        return TrialStore(
            self.folder, sweep, proposals_of(sweep), known, concurrency, lambda t: self.shown.append(len(t))
        )


def started(store: TrialStore) -> TrialRecord:
    record = store.next_trial()
    assert record is not None
    return record


class TestTrialStore:
    def test_a_killed_session_loses_and_repeats_nothing(self, corpus: str, tmp_path: Path) -> None:
        """A sweep that is killed after every change has the trials of an uninterrupted one."""
        alone = Sessions(corpus, tmp_path / "alone", trials=3)
        store = alone.store(concurrency=1)
        while (record := store.next_trial()) is not None:
            assert not store.report(record.number, Rung(9, float(record.number), 1.0))
            store.complete(record.number)
        assert store.done
        killed = Sessions(corpus, tmp_path / "killed", trials=3)
        begun: list[tuple[int, int]] = []
        for number in range(3):
            record = started(killed.store(concurrency=1))  # killed while the trial ran
            begun.append((record.number, record.tries))
            store = killed.store(concurrency=1)
            assert started(store) == record
            assert store.next_trial() is None  # one at a time
            store.report(number, Rung(9, float(number), 1.0))  # killed before the trial's process returned
        assert begun == [(0, 1), (1, 1), (2, 1)]
        assert killed.store().done
        assert [(t.params, t.rungs, t.state) for t in read_trials(killed.folder)] == [
            (t.params, t.rungs, t.state) for t in read_trials(alone.folder)
        ]

    def test_failed_trials_are_retried_then_kept_with_the_reason(self, corpus: str, tmp_path: Path) -> None:
        store = Sessions(corpus, tmp_path, trials=2, retries=1).store(concurrency=1)
        for tries in (1, 2):
            record = started(store)
            assert (record.number, record.tries, record.reason) == (0, tries, "")
            store.fail(0, "lost\n  a node", permanent=False)
        started(store)
        store.fail(1, "l2p does not fit", permanent=True)
        assert store.next_trial() is None
        assert store.done
        assert [(t.state, t.reason, t.tries) for t in store.trials()] == [
            ("failed", "lost a node", 2),
            ("failed", "l2p does not fit", 1),
        ]

    def test_more_retries_and_trials_later(self, corpus: str, tmp_path: Path) -> None:
        sessions = Sessions(corpus, tmp_path, trials=1, retries=0)
        store = sessions.store()
        store.next_trial()
        store.fail(0, "why", permanent=False)
        assert sessions.store().done
        more = sessions.store(config=replace(sessions.sweep.config, retries=1), trials=2)
        assert [started(more).number, started(more).number] == [0, 1]

    def test_stopping_leaves_trials_to_resume(self, corpus: str, tmp_path: Path) -> None:
        store = Sessions(corpus, tmp_path, trials=3).store()
        store.next_trial()
        store.next_trial()
        store.report(0, Rung(9, 0.5, 1.0))
        store.report(1, Rung(3, 0.5, 1.0))
        store.stopping = True
        assert store.next_trial() is None
        store.complete(0)
        store.complete(1)
        store.fail(1, "killed", permanent=False)
        assert [t.state for t in store.trials()] == ["finished", "running"]
        assert store.done

    def test_a_rung_and_the_decision_are_written_as_one(self, corpus: str, tmp_path: Path) -> None:
        sessions = Sessions(corpus, tmp_path, trials=2, scheduler="asha")
        store = sessions.store()
        for number, score, goes_on in ((0, 0.9, True), (1, 0.1, False)):
            store.next_trial()
            writes = len(sessions.shown)
            assert store.report(number, Rung(1, score, 1.0)) is goes_on
            assert len(sessions.shown) == writes + 1
        assert [(t.state, t.rungs) for t in read_trials(sessions.folder)] == [
            ("running", (Rung(1, 0.9, 1.0),)),
            ("stopped", (Rung(1, 0.1, 1.0),)),
        ]

    def test_earlier_sessions_count_for_the_scheduler(self, corpus: str, tmp_path: Path) -> None:
        """Also rungs of running trials; a killed trial is compared with them, and not decided again at its earlier rungs."""
        sessions = Sessions(corpus, tmp_path, trials=3, scheduler="asha")
        store = sessions.store()
        for number, score in ((0, 0.5), (1, 0.9)):
            store.next_trial()
            assert store.report(number, Rung(1, score, 1.0))
        again = sessions.store()
        assert [started(again).number for _ in range(3)] == [0, 1, 2]
        assert again.report(0, Rung(1, 0.1, 1.0))  # known, so nothing is decided
        assert not again.report(2, Rung(1, 0.7, 1.0))
        assert again.records[0].rungs == (Rung(1, 0.5, 1.0),)

    def test_nothing_is_pickled(self, corpus: str, tmp_path: Path) -> None:
        assert vars(pickle.loads(pickle.dumps(Sessions(corpus, tmp_path).store()))) == {}


class TestPopulation:
    def test_a_clone_is_queued_with_new_parameters(self, corpus: str, tmp_path: Path) -> None:
        sessions = Sessions(corpus, tmp_path, trials=2, scheduler="pbt", grace_period=3)
        store = sessions.store()
        assert [started(store).number for _ in range(2)] == [0, 1]
        assert store.report(1, Rung(3, 0.9, 1.0))
        assert not store.report(0, Rung(3, 0.1, 1.0))
        assert not store.report(0, Rung(3, 0.1, 1.0))  # Tune repeats the last result when the trial returns
        record = read_trials(sessions.folder)[0]
        clone = record.clones[-1]
        assert (record.state, record.reached, clone.of, clone.segment, clone.after) == ("running", 3, 1, 0, 1)
        assert record.params == clone.params
        assert record.params != store.records[1].params
        assert store.next_trial() is None  # its process has not returned
        store.complete(0)
        again = started(store)
        assert (again.number, again.tries) == (0, 1)
        assert store.report(0, Rung(6, 0.95, 1.0))
        assert not store.report(1, Rung(6, 0.2, 1.0))
        clone = store.records[1].clones[-1]
        assert (clone.of, clone.segment, clone.at) == (0, 1, 6)
        assert [rung.fidelity for rung in store.records[0].rungs] == [3, 6]

    def test_the_population_takes_turns_when_not_all_fit(self, corpus: str, tmp_path: Path) -> None:
        store = Sessions(corpus, tmp_path, trials=3, scheduler="pbt", grace_period=3).store(concurrency=1)
        order: list[tuple[int, int]] = []
        while (record := store.next_trial()) is not None:
            fidelity = record.reached + 3
            order.append((record.number, fidelity))
            while store.report(record.number, Rung(fidelity, 0.5, 1.0)):
                fidelity += 3
                order.append((record.number, fidelity))
            store.complete(record.number)
        assert order[:3] == [(0, 3), (1, 3), (2, 3)]
        assert store.done
        assert [(t.state, t.tries) for t in store.trials()] == [("finished", 1)] * 3

    def test_a_trial_killed_after_its_clone_continues_from_it(self, corpus: str, tmp_path: Path) -> None:
        sessions = Sessions(corpus, tmp_path, trials=2, scheduler="pbt", grace_period=3)
        store = sessions.store()
        store.next_trial()
        store.next_trial()
        store.report(1, Rung(3, 0.9, 1.0))
        store.report(0, Rung(3, 0.1, 1.0))
        again = started(sessions.store())
        assert (again.number, again.tries, again.clones) == (0, 1, store.records[0].clones)

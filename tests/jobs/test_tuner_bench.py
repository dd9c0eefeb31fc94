"""Benchmark tuner: the score has a known optimum, TPE needs fewer trials than random search, and result lines are as expected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distgnn.search.records import Rung, TrialRecord, read_trials
from distgnn.storage.folder import open_folder
from jobs.benches import tuner
from jobs.benches.tuner import adaptation, looped_seconds, planted_score, search_lines, sweep_lines, trials_needed
from tests.helpers.sweeps import synthetic_sweep, view, write

SPACE = adaptation()
USUAL = {name: domain.ends()[0] for name, domain in SPACE.items()}


@pytest.mark.parametrize("seed", [0, 1])
def test_the_score_depends_on_four_fields_and_its_optimum_is_one(seed: int) -> None:
    for name, domain in SPACE.items():
        values = domain.points() or tuple(np.geomspace(*map(float, domain.ends()), 400))
        scores = np.array([planted_score(SPACE, {**USUAL, name: value}, seed) for value in values])
        assert (np.ptp(scores) > 0) == (name in tuner._RELEVANT)
        assert scores.max() >= planted_score(SPACE, USUAL, seed)
    best = dict(USUAL)
    for name in tuner._RELEVANT:  # fields do not interact, so each is optimized separately
        values = SPACE[name].points() or tuple(np.geomspace(*map(float, SPACE[name].ends()), 400))
        best[name] = max(values, key=lambda value: planted_score(SPACE, {**best, name: value}, seed))
    assert planted_score(SPACE, best, seed) == pytest.approx(1, abs=1e-4)


def test_tpe_needs_fewer_trials_than_random() -> None:
    found = list(search_lines(range(5)))
    assert [line["unit"] for line in found] == ["trials", "%"]
    assert found[0]["baseline"] == "random"
    assert found[0]["value"] < 0.5 * found[0]["baseline_value"]
    assert found[1]["value"] >= 80


def test_the_search_is_deterministic() -> None:
    assert trials_needed(SPACE, "tpe", 3) == trials_needed(SPACE, "tpe", 3)


def test_lines_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sweep and a loop that take no time: 2 trials of 13 seconds, in a sweep of 100."""
    params = {"pretrain.l2p.node_lr": 0.01, "pretrain.l2p.node_steps": 1, "pretrain.l2p.order": 1}
    rungs = (Rung(30, 0.7, 13.0),)
    records = [
        TrialRecord(n, params, "finished", started=15.0 * n, ended=15.0 * n + 14, seconds=13.0, rungs=rungs)
        for n in range(2)
    ]

    def tune(words: list[str]) -> int:
        seen = view(records)
        write(Path(words[words.index("--out") + 1]), seen)
        return 0

    monkeypatch.setattr(tuner, "main", tune)
    monkeypatch.setattr(tuner, "looped_seconds", lambda *_: 20.0)
    wall, outside, beside, gap = sweep_lines(tmp_path, 2, 30)
    assert (wall["baseline"], wall["baseline_value"]) == ("loop", 20.0)
    assert outside["unit"] == "%"
    assert beside["value"] == pytest.approx(74)
    assert (gap["value"], gap["unit"]) == (1.0, "s")
    assert wall["case"] == "2 trials of 13.0 s, one at a time"


def test_the_loop_runs_the_same_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[TrialRecord] = []

    class Recorded:
        @staticmethod
        def of(_: object, __: object, record: TrialRecord) -> Recorded:
            ran.append(record)
            return Recorded()

        def run(self) -> list[Rung]:
            return []

    monkeypatch.setattr(tuner, "Trial", Recorded)
    folder = open_folder(write(tmp_path, view([TrialRecord(3, {"x": 1}, "finished", rungs=(Rung(1, 0.5, 1.0),))])))
    assert looped_seconds(synthetic_sweep(), read_trials(folder), folder) < 5
    assert ran == [TrialRecord(3, {"x": 1})]

"""Sweeps on Ray Tune: every searcher and scheduler, kills of trials and of the driver, clones, storage on S3, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from distgnn.checkpoint.format import load_checkpoint
from distgnn.cli import main
from distgnn.config import TuneConfig, to_json
from distgnn.errors import RequestError
from distgnn.scale import pool
from distgnn.scale.pool import start_ray
from distgnn.scale.tune.sweep import cluster_capacity, run_sweep
from distgnn.search.capacity import Capacity
from distgnn.search.records import TrialRecord, read_sweep, read_trials
from distgnn.search.sweep import new_sweep
from distgnn.search.winner import read_result
from distgnn.storage.folder import open_folder
from tests.helpers.corpora import contents
from tests.helpers.sweeping import tuning
from tests.helpers.training import start_command

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.ray]  # inside Ray itself


@pytest.fixture(scope="class")
def _ray() -> Iterator[None]:
    start_ray(2)
    yield
    ray.shutdown()


def swept(corpus: str, out: Path | str, **options: Any) -> tuple[str, list[TrialRecord]]:
    folder, sweep = new_sweep(tuning(corpus, str(out), **options))
    status = run_sweep(folder, sweep)
    return status, read_trials(folder)


def outcomes(trials: list[TrialRecord]) -> list[Any]:
    return [(t.number, t.state, t.params, [(r.fidelity, r.score) for r in t.rungs]) for t in trials]


@pytest.mark.usefixtures("_ray")
class TestSweeps:
    @pytest.mark.slow
    def test_trials_are_deterministic(self, corpus: str, tmp_path: Path) -> None:
        options = {"trials": 4, "scheduler": "asha", "concurrency": 1, "n_startup_trials": 2, "final_seeds": 0}
        first, second = (swept(corpus, tmp_path / name, **options) for name in ("first", "second"))
        assert first[0] == second[0] == "finished"
        assert outcomes(first[1]) == outcomes(second[1])
        states = [trial.state for trial in first[1]]
        assert set(states) <= {"finished", "stopped"}
        assert "finished" in states
        assert all(t.rungs[-1].fidelity == (9 if t.state == "finished" else t.fidelity) for t in first[1])
        assert not {"ray", "failed.json"} & {path.name for path in (tmp_path / "first").rglob("*")}

    @pytest.mark.slow
    def test_the_final_evaluation_and_its_files(self, corpus: str, tmp_path: Path) -> None:
        status, trials = swept(corpus, tmp_path / "sweep", searcher="random", trials=2)
        assert status == "finished"
        assert [trial.state for trial in trials] == ["finished"] * 2
        result = read_result(open_folder(str(tmp_path / "sweep")))
        assert result is not None
        assert [row.name for row in result.rows] == ["winner", "default", "none"]
        assert result.rows[0].validation == (result.score,)
        names = {path.name for path in (tmp_path / "sweep" / "winner").iterdir()}
        assert {"pretrain.json", "finetune.json", "checkpoint", "result.json", "default"} <= names
        assert {"results.parquet", "sweep.json"} <= {p.name for p in (tmp_path / "sweep").iterdir()}
        assert read_sweep(open_folder(str(tmp_path / "sweep"))).wall > 0

    @pytest.mark.slow
    def test_clones_copy_the_weights(self, corpus: str, tmp_path: Path) -> None:
        status, trials = swept(corpus, tmp_path / "sweep", scheduler="pbt", grace_period=3, trials=4, final_seeds=0)
        assert status == "finished"
        assert [trial.state for trial in trials] == ["finished"] * 4
        cloned = [(trial, turn, clone) for trial in trials for turn, clone in enumerate(trial.clones, start=1)]
        assert cloned
        for trial, turn, clone in cloned:
            source = "pretrain" if clone.segment == 0 else f"pretrain-{clone.segment}"
            step = f"checkpoints/step-{clone.at:09d}"
            there = tmp_path / "sweep" / "trials" / f"{clone.of:04d}" / source / step
            here = tmp_path / "sweep" / "trials" / f"{trial.number:04d}" / f"pretrain-{turn}" / step
            assert contents(here) == contents(there)

    @pytest.mark.slow
    def test_failures_are_reported_and_other_trials_continue(self, corpus: str, tmp_path: Path) -> None:
        space = ("train.lr={1e-3,1e30}", "finetune.lr={0.01}")
        status, trials = swept(
            corpus, tmp_path / "sweep", space=space, searcher="grid", trials=0, final_seeds=0, retries=1
        )
        assert status == "finished"
        assert [(trial.state, trial.tries) for trial in trials] == [("finished", 1), ("failed", 1)]
        assert trials[1].reason

    @pytest.mark.slow
    def test_a_trial_that_does_not_fit_is_refused(self, corpus: str, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="largest of the Ray cluster's 1 has 2 CPUs"):
            swept(corpus, tmp_path / "sweep", cpus_per_trial=3.0)


def test_trials_get_the_gpus_that_the_cluster_may_add(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same count as in pre-training."""
    monkeypatch.setattr(pool.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0}}])
    monkeypatch.setattr(pool.ray, "cluster_resources", lambda: {"CPU": 4.0})
    monkeypatch.setenv("DISTGNN_CLUSTER_MAX", "CPU=36,GPU=8")

    def capacity(device: Any, **options: Any) -> Capacity:
        config = tuning(corpus, "out", **options)
        train = replace(config.pretrain.train, device=device)
        config = replace(config, pretrain=replace(config.pretrain, train=train))
        return cluster_capacity(new_sweep(config)[1])

    with pytest.raises(RequestError, match=r"gpus_per_trial=0: .* on CPUs, but the Ray cluster has 8 GPUs, .* may add"):
        capacity("auto")
    assert capacity("auto", gpus_per_trial=1.0) == Capacity(1.0, 1.0, 8)
    assert capacity("cpu") == Capacity(1.0, 0.0, 36)


def words(config: Any, path: Path) -> list[str]:
    path.write_text(json.dumps(to_json(config)))
    return ["tune", "--config", str(path), "--json"]


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Run a command with a timeout; return (exit code, stdout, stderr)."""
    try:
        out, errors = process.communicate(timeout=500)
    finally:
        process.kill()
        process.communicate()
    return process.returncode, out, errors


def done(*given: str) -> int:
    """Run the command in a new process; return its exit code."""
    code, _, errors = ended(start_command(*given))
    print(errors)
    return code


def running_trials(token: str) -> list[int]:
    """Processes of trials that a command with ``token`` in its environment has started."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            own = token.encode() in (place / "environ").read_bytes()
            if own and b"ray::ImplicitFunc" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
        except OSError:  # it has ended, or is not ours to look at
            continue
    return found


@pytest.mark.slow
def test_a_killed_trial_is_retried(corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = uuid.uuid4().hex
    monkeypatch.setenv("DISTGNN_TEST", token)
    config = tuning(
        corpus, str(tmp_path / "sweep"), trials=2, scheduler="asha", concurrency=1, max_steps=81, final_seeds=0
    )
    process = start_command(*words(config, tmp_path / "config.json"))
    first, deadline = tmp_path / "sweep/trials/0000/trial.json", time.monotonic() + 240
    while time.monotonic() < deadline and not (first.exists() and json.loads(first.read_text())["rungs"]):
        time.sleep(0.02)
    for number in running_trials(token):
        os.kill(number, signal.SIGKILL)
    code, _, errors = ended(process)
    assert code == 0, errors
    assert "its process was lost" in errors
    trial = read_trials(open_folder(str(tmp_path / "sweep")))[0]
    assert (trial.state, trial.tries) == ("finished", 2)
    assert [rung.fidelity for rung in trial.rungs] == [9, 27, 81]


@pytest.mark.slow
def test_trials_of_several_workers(corpus: str, tmp_path: Path) -> None:
    """Their scores equal those of trials of one process."""
    found = []
    for name, more in (("one", {}), ("two", {"workers_per_trial": 2, "cpus_per_trial": 0.25})):
        config = tuning(
            corpus, str(tmp_path / name), trials=1, scheduler="asha", searcher="random", final_seeds=1, **more
        )
        assert done(*words(config, tmp_path / "config.json")) == 0
        found.append(read_trials(open_folder(str(tmp_path / name))))
    for one, two in zip(*found, strict=True):
        assert one.params == two.params
        assert [rung.score for rung in two.rungs] == pytest.approx([rung.score for rung in one.rungs], abs=0.02)


@pytest.mark.slow
def test_on_s3(corpus: str, s3: str, tmp_path: Path) -> None:
    config = tuning(corpus, f"{s3}/sweep", trials=4, scheduler="pbt", grace_period=3, final_seeds=1)
    process = start_command(*words(config, tmp_path / "config.json"))
    code, out, errors = ended(process)
    assert code == 0, errors
    value = json.loads(out)
    assert value["trials"] == {"finished": 4}
    assert len(value["result"]["rows"]) == 3
    folder = open_folder(f"{s3}/sweep")
    assert not folder.sub("ray").names()
    assert load_checkpoint(folder.at("winner/checkpoint")).step == 9
    assert main(["report", folder.uri]) == 0


def interruptible(corpus: str, out: Path) -> TuneConfig:
    return tuning(
        corpus, str(out), trials=4, scheduler="asha", concurrency=1, max_steps=27, n_startup_trials=2, final_seeds=0
    )


@pytest.fixture(scope="module")
def alone(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The trials of an uninterrupted sweep."""
    folder = tmp_path_factory.mktemp("alone")
    assert done(*words(interruptible(corpus, folder / "sweep"), folder / "config.json")) == 0
    return outcomes(read_trials(open_folder(str(folder / "sweep"))))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_resumed(corpus: str, alone: list[Any], tmp_path: Path, number: signal.Signals) -> None:
    """No trial is lost or repeated, and the results equal those of an uninterrupted sweep."""
    process = start_command(*words(interruptible(corpus, tmp_path / "sweep"), tmp_path / "config.json"))
    deadline = time.monotonic() + 240
    while not (tmp_path / "sweep/trials/0001/trial.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, number)
    assert ended(process)[0] == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    assert done("tune", "--resume", str(tmp_path / "sweep"), "--json") == 0
    trials = read_trials(open_folder(str(tmp_path / "sweep")))
    assert outcomes(trials) == alone
    assert [trial.tries for trial in trials] == [1] * 4

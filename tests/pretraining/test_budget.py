"""Budgets of CPU seconds: a run ends with a finished checkpoint, resumes by counting on, and records what it spent."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distgnn as dg
from distgnn.checkpoint.format import load_state
from distgnn.config import TrainConfig
from distgnn.pretraining.history import read_history, read_progress
from distgnn.pretraining.step import learning_rate
from distgnn.storage.folder import open_folder
from tests.helpers.labelled import write_labelled

TRAIN: dict[str, Any] = {
    "streams": 1, "graphs_per_stream": 4, "device": "cpu", "validation_fraction": 0.1, "epochs": 100, "max_steps": 60,
    "checkpoint_every": 5, "log_seconds": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("budget") / "corpus")
    write_labelled(uri, np.zeros((200, 1)), ("nothing",))  # four units, one of them held out
    return uri


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the process's CPU clock takes one second."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "process_time", lambda: float(next(ticks)))


def pretrain(corpus: str, out: Path, **train: Any) -> dg.Run:
    encoder = {"layers": 1, "width": 4}
    return dg.pretrain(corpus=corpus, out=out, name="one", objective="edgepred", encoder=encoder, train=TRAIN | train)


@pytest.mark.usefixtures("seconds")
def test_a_run_ends_finished_when_its_seconds_are_spent(corpus: str, tmp_path: Path) -> None:
    run = pretrain(corpus, tmp_path, max_cpu_seconds=12.0)
    progress, state = read_progress(open_folder(run.uri)), load_state(run.uri)
    assert (progress["status"], progress["step"], state.step) == ("finished", 12, 12)
    assert state.metrics["cost"] == progress["cost"] == {"graphs": 48.0, "cpu_seconds": 12.0}
    assert progress["total"] == 12  # not the 60 steps that the budget cut short
    assert "loss" in progress["validation"]  # validated at the end, which is not the last planned step
    steps = [row for row in read_history(open_folder(run.uri)) if "cpu_seconds" in row]
    assert [(row["graphs"], row["cpu_seconds"]) for row in steps[:2]] == [(4.0, 1.0), (8.0, 2.0)]


@pytest.mark.usefixtures("seconds")
def test_a_resumed_run_counts_on_and_a_finished_one_stays(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(
            "distgnn.pretraining.loop.check_last_steps", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            pretrain(corpus, tmp_path, max_cpu_seconds=8.0)
    for path in (tmp_path / "one" / "checkpoints").glob("step-00000000[6-9]"):
        (path / "checksums.json").unlink()
    assert load_state(str(tmp_path / "one")).metrics["cost"]["cpu_seconds"] == 5.0
    for _ in range(2):
        run = dg.resume(str(tmp_path / "one"))
        assert load_state(run.uri).step == 8
        assert load_state(run.uri).metrics["cost"] == {"graphs": 32.0, "cpu_seconds": 8.0}


def test_without_a_budget_the_cost_is_recorded(corpus: str, tmp_path: Path) -> None:
    cost = load_state(pretrain(corpus, tmp_path, max_steps=3).uri).metrics["cost"]
    assert cost["graphs"] == 12
    assert 0 < cost["cpu_seconds"] < 60


def test_learning_rate_follows_the_larger_share() -> None:
    config = TrainConfig(lr=1.0)
    assert learning_rate(config, 10, 100, spent=0.5) == pytest.approx(0.5)
    assert learning_rate(config, 50, 100, spent=0.1) == pytest.approx(0.5)


def test_sweeps_refuse_a_budget() -> None:
    train = TrainConfig(max_cpu_seconds=5.0)
    with pytest.raises(dg.RequestError, match="max_cpu_seconds=5: trials are compared by steps"):
        dg.TuneConfig(
            space=("a",), pretrain=dg.PretrainConfig(corpus="x", train=train), finetune=dg.FinetuneConfig("y")
        )


def test_a_budget_is_not_negative() -> None:
    with pytest.raises(dg.RequestError, match=r"train\.max_cpu_seconds must not be negative"):
        TrainConfig(max_cpu_seconds=-1.0)

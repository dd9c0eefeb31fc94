"""Experiment loggers: output of each, resumed runs, and values logged by the commands."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distgnn import register
from distgnn.api.tune import log_sweep
from distgnn.commands.finetune import finetune
from distgnn.commands.output import Output
from distgnn.commands.pretrain import pretrain, resume
from distgnn.commands.transfer import transfer
from distgnn.config import FinetuneConfig, MetricsConfig, PretrainConfig, SplitConfig
from distgnn.errors import DivergedError, RequestError
from distgnn.monitor.loggers.base import LoggedRun, check_loggers, flat, open_loggers
from distgnn.options import Globals
from distgnn.storage.folder import Folder, open_folder
from tests.helpers import transfers
from tests.helpers.labelled import signal, write_labelled
from tests.helpers.sweeps import planted, view, write
from tests.helpers.training import small

SECRET = "credential-0815"


def logged(folder: Path, resumed_at: int | None = None, **config: Any) -> LoggedRun:
    return LoggedRun("run", open_folder(str(folder)), config, resumed_at)


def rows(folder: Path) -> list[tuple[int, str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [(int(row["step"]), row["metric"], float(row["value"])) for row in csv.DictReader(file)]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def write_steps(name: str, run: LoggedRun, steps: range, value: float) -> None:
    with open_loggers((name,), run, MetricsConfig()) as group:
        for step in steps:
            group.log(step, {"train/loss": value + step, "train/bad": float("nan")})
        group.summary = {"score": value}


def test_csv(tmp_path: Path) -> None:
    write_steps("csv", logged(tmp_path), range(1, 6), 0.0)
    assert rows(tmp_path) == [*((step, "train/loss", float(step)) for step in range(1, 6)), (5, "summary/score", 0.0)]
    write_steps("csv", logged(tmp_path, resumed_at=3), range(4, 7), 10.0)
    losses = [(step, value) for step, name, value in rows(tmp_path) if name == "train/loss"]
    assert losses == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 14.0), (5, 15.0), (6, 16.0)]
    assert [row for row in rows(tmp_path) if row[1] == "summary/score"] == [(6, "summary/score", 10.0)]


def test_csv_rows_of_repeated_steps_are_replaced(tmp_path: Path) -> None:
    with open_loggers(("csv",), logged(tmp_path), MetricsConfig()) as group:
        for step, value in ((1, 1.0), (5, 5.0), (3, 30.0)):
            group.log(step, {"loss": value})
    assert rows(tmp_path) == [(1, "loss", 1.0), (3, "loss", 30.0)]


def test_tensorboard(tmp_path: Path) -> None:
    write_steps("tensorboard", logged(tmp_path, lr=0.5), range(1, 6), 0.0)
    assert scalars(tmp_path) == {"train/loss": [(n, n) for n in range(1, 6)], "summary/score": [(5, 0.0)]}
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert b"| lr | 0.5 |" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]
    write_steps("tensorboard", logged(tmp_path, resumed_at=3), range(4, 7), 10.0)
    assert scalars(tmp_path)["train/loss"] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 14.0), (5, 15.0), (6, 16.0)]


class Calls:
    """A fake library that records calls on it and on their results."""

    def __init__(self, notes: list[tuple[str, tuple[Any, ...], dict[str, Any]]], name: str = "") -> None:
        self.notes, self.name = notes, name

    def __getattr__(self, name: str) -> Calls:
        return Calls(self.notes, f"{self.name}.{name}".strip("."))

    def __call__(self, *args: Any, **options: Any) -> Calls:
        self.notes.append((self.name, args, options))
        return Calls(self.notes, self.name)


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    monkeypatch.setattr(importlib, "import_module", lambda _: Calls(notes))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: SimpleNamespace())
    write_steps("wandb", logged(tmp_path, lr=0.5), range(1, 3), 0.0)
    write_steps("wandb", logged(tmp_path, resumed_at=1), range(2, 3), 0.0)
    starts = [options for name, _, options in notes if name == "init"]
    assert [options["resume"] for options in starts] == [None, "allow"]
    assert {options["id"] for options in starts} == {"run"}
    assert (starts[0]["config"], starts[0]["dir"]) == ({"lr": 0.5}, str(tmp_path))
    assert ("init.log", ({"train/loss": 2.0},), {"step": 2}) in notes
    assert ("init.summary.update", ({"score": 0.0, "status": "finished"},), {}) in notes
    assert notes[-1] == ("init.finish", (), {"exit_code": 0})


@pytest.mark.filterwarnings("ignore")  # of MLflow and SQLAlchemy
def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    write_steps("mlflow", logged(tmp_path, lr=0.5), range(1, 4), 0.0)
    write_steps("mlflow", logged(tmp_path, resumed_at=3, lr=0.7), range(4, 6), 0.0)
    client = mlflow.MlflowClient()
    found = client.search_runs([client.get_experiment_by_name("distgnn").experiment_id])
    assert len(found) == 1
    run = found[0]
    assert (run.info.run_name, run.info.status, run.data.params["lr"]) == ("run", "FINISHED", "0.5")
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(item.step, item.value) for item in history] == [(n, float(n)) for n in range(1, 6)]
    assert run.data.metrics["summary/score"] == 0.0


class Notes:
    """A logger that records its values."""

    made: ClassVar[list[Notes]] = []

    def __init__(self, config: Any, run: LoggedRun) -> None:
        del config
        self.run, self.logged, self.end = run, list[tuple[int, Mapping[str, float]]](), ("", dict[str, float]())
        Notes.made.append(self)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.logged.append((step, values))

    def finish(self, status: str, summary: Mapping[str, float]) -> None:
        self.end = status, dict(summary)


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[Notes]:
    register.logger("notes")(Notes)
    monkeypatch.setattr(Notes, "made", [])
    return Notes.made


@pytest.mark.parametrize(("error", "status"), [(DivergedError, "failed"), (KeyboardInterrupt, "stopped")])
def test_status_of_a_block_that_raises(
    tmp_path: Path, notes: list[Notes], error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), open_loggers(("notes",), logged(tmp_path), MetricsConfig()):
        raise error
    assert notes[0].end == (status, {})


def test_unusable_loggers_are_refused_before_training(
    tmp_path: Path, corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(str(tmp_path))
    with pytest.raises(RequestError, match=r"loggers='tensorbord' is unknown \(there are .*csv, mlflow"):
        check_loggers(("tensorbord",), folder)
    with pytest.raises(RequestError, match="loggers: csv is given twice"):
        check_loggers(("csv", "csv"), folder)
    remote = Folder(folder.filesystem, "bucket/run", "s3://bucket/run")
    monkeypatch.setattr(Folder, "local", property(lambda self: not self.uri.startswith("s3")))
    for name in ("csv", "tensorboard"):
        with pytest.raises(RequestError, match=f"loggers: {name} needs a local folder, found s3://bucket/run"):
            check_loggers((name,), remote)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    message = r"loggers: tensorboard is not installed; pip install 'distgnn\[tensorboard\]'"
    with pytest.raises(RequestError, match=message):
        pretrain(replace(small(corpus, tmp_path / "runs"), loggers=("tensorboard",)), Output(False))
    assert not (tmp_path / "runs").exists()


def test_flat_config() -> None:
    found = flat(PretrainConfig("c", imports=("a", "b")))
    assert (found["corpus"], found["imports"], found["train.lr"], found["encoder.width"]) == ("c", "a b", 1e-3, 300)
    assert all(isinstance(value, str | int | float | bool) for value in found.values())


def test_pretrain_and_resume(corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    config = small(corpus, tmp_path, max_steps=6, validate_every=3, checkpoint_every=4)
    pretrain(replace(config, loggers=("csv", "tensorboard")), Output(False))
    folder = tmp_path / "run"
    before = rows(folder)
    names = {name for _, name, _ in before}
    assert {"train/loss", "train/link_accuracy", "train/lr", "train/graphs_per_s", "validation/loss"} <= names
    assert "summary/validation/loss" in names
    assert [step for step, name, _ in before if name == "train/lr"] == list(range(1, 7))
    shown = scalars(folder)
    assert [step for step, _ in shown["train/loss"]] == list(range(1, 7))
    assert [step for step, _ in shown["validation/loss"]] == [3, 6]
    for path in folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    newest = sorted((folder / "checkpoints").iterdir())
    for file in newest[-1].iterdir():
        file.unlink()
    newest[-1].rmdir()
    resume(Globals("", False, str(folder)), [], Output(False))
    steps = [step for step, name, _ in rows(folder) if name == "train/lr"]
    assert steps == list(range(1, 7)), "steps after the checkpoint are logged once"
    kept = {(step, value) for step, name, value in before if name == "train/loss"}
    assert {(step, value) for step, name, value in rows(folder) if name == "train/loss"} == kept
    assert [step for step, _ in scalars(folder)["train/loss"]] == list(range(1, 7))


def test_finetune(tmp_path: Path, notes: list[Notes]) -> None:
    write_labelled(str(tmp_path / "data"), (signal(60) > 0).astype(np.float32)[:, None], ("up",))
    config = FinetuneConfig(
        str(tmp_path / "data"),
        out=str(tmp_path / "out"),
        seeds=2,
        epochs=1,
        encoder=small("", "").encoder,
        split=SplitConfig("random"),
        device="cpu",
        loggers=("notes",),
    )
    finetune(config, Output(False))
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    scores = [run["scores"]["test"]["value"] for run in result["runs"]]
    assert [(step, values["none/test"]) for step, values in notes[0].logged] == list(enumerate(scores, start=1))
    status, summary = notes[0].end
    assert (status, notes[0].run.name, notes[0].run.config["epochs"]) == ("finished", "out", 1)
    assert summary["none/test"] == pytest.approx(np.mean(scores))


def test_transfer(tmp_path: Path, notes: list[Notes]) -> None:
    data = transfers.write(str(tmp_path / "data"))
    transfer(transfers.config(data, str(tmp_path / "out"), loggers=("notes",)), Output(False))
    cells = json.loads((tmp_path / "out" / "results.json").read_text())["cells"]
    assert len(notes[0].logged) == 3
    assert [step for step, _ in notes[0].logged] == [1, 2, 3]
    means = {"/".join(cell[name] for name in ("scheme", "encoder", "method", "metric")): cell["mean"] for cell in cells}
    assert notes[0].end == ("finished", pytest.approx(means))


def test_tune(tmp_path: Path, notes: list[Notes]) -> None:
    trials = planted(6)
    seen = view(trials)
    write(tmp_path, seen)
    sweep = replace(seen.sweep, config=replace(seen.sweep.config, loggers=("notes",)))
    log_sweep(open_folder(str(tmp_path)), sweep, "stopped")
    assert [(step, values["trial/score"]) for step, values in notes[0].logged] == [
        (trial.number, trial.score) for trial in trials
    ]
    status, summary = notes[0].end
    assert status == "stopped"
    assert summary["best/score"] == max(trial.score or 0.0 for trial in trials)


@pytest.mark.parametrize("group", ["pretrain", "finetune"])
def test_trials_of_a_sweep_do_not_log(group: str) -> None:
    config = view(planted(2)).sweep.config
    with pytest.raises(RequestError, match=f"{group}.loggers: trials log nothing themselves; use loggers"):
        replace(config, **{group: replace(getattr(config, group), loggers=("csv",))})

"""A pre-training over databases is followed, listed, reported and deleted as one over a corpus."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

import distgnn as dg
from distgnn.api.database_models import pretrain_databases
from distgnn.cli import main
from distgnn.config.database_model import DatabasePretrainConfig
from distgnn.pretraining.history import read_history, read_progress
from distgnn.report.board import Board
from distgnn.storage.folder import open_folder
from tests.helpers.databases import frames, write_database
from tests.relational.test_models import config


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distgnn.relational.pretraining._ROW_SECONDS", 0.0)


@pytest.fixture
def small(tmp_path: Path) -> DatabasePretrainConfig:
    shop = write_database(tmp_path / "shop", frames(customers=30, orders=500))
    return config(str(shop), tmp_path / "runs" / "first")


@pytest.mark.usefixtures("every_step")
def test_a_run_is_followed_listed_reported_and_deleted(
    small: DatabasePretrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = pretrain_databases(small)
    folder, place = open_folder(run.uri), str(tmp_path / "runs")
    rows, shot = read_history(folder), read_progress(folder)
    assert [row["loss"] for row in rows] == run.losses
    assert [row["episodes"] for row in rows] == [4, 8, 12, 16, 20, 24]
    assert (shot["status"], shot["step"], shot["total"]) == ("finished", 6, 6)
    assert shot["checkpoint"] == "checkpoints/step-000000006"
    (listed,) = dg.list_runs(place).to_dict("records")
    (row,) = Board(open_folder(place)).state()["rows"]
    assert (listed["kind"], listed["status"]) == (row["kind"], row["status"]) == ("run", "finished")
    page = Path(dg.write_report(run.uri)).read_text()
    for told in ("The run has finished at step 6", "distgnn database pretrain --config", "episodes_per_s", "Loss"):
        assert told in page
    assert main(["status", run.uri]) == 0
    assert " episodes/s | " in capsys.readouterr().out
    before = [row["loss"] for row in rows], shot["metrics"]
    pretrain_databases(small)  # there is nothing left to do
    assert ([row["loss"] for row in read_history(folder)], read_progress(folder)["metrics"]) == before
    assert dg.delete_run(place, "first") == run.uri
    assert not list((tmp_path / "runs").iterdir())


def test_failed_stopped_and_silent_runs_say_so(
    small: DatabasePretrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(dg.RequestError):
        pretrain_databases(dataclasses.replace(small, databases=("nowhere",)))
    folder = open_folder(small.out)
    assert read_progress(folder)["status"] == "failed"
    assert "nowhere" in read_progress(folder)["error"]
    dg.delete_run(str(Path(small.out).parent), "first")

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("distgnn.relational.pretraining.after_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain_databases(small)
    assert read_progress(folder)["status"] == "stopped"
    monkeypatch.undo()
    pretrain_databases(small)
    shot = (Path(small.out) / "progress.json").read_text().replace('"finished"', '"running"')
    (Path(small.out) / "progress.json").write_text(shot)
    now = time.time()
    monkeypatch.setattr("distgnn.commands.status.time.time", lambda: now + 120)
    assert main(["status", small.out]) == 0
    assert f"continue with: distgnn database pretrain --config {small.out}/config.json" in capsys.readouterr().out

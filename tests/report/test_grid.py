"""The grid job: every cell is trained once, the table marks losses, and untrainable cells have reasons."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distgnn.checkpoint.format import load_checkpoint
from distgnn.errors import RequestError
from distgnn.pretraining.history import read_history, read_progress
from distgnn.report.grid import Grid, grid_summary, markdown, rows, terminal
from distgnn.storage.folder import open_folder
from jobs.grid import main
from tests.helpers.corpora import motifs
from tests.report.test_table import made

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "--pretrain.encoder.layers 1 --pretrain.encoder.width 6 --pretrain.train.streams 2 --pretrain.train.device cpu"
    " --pretrain.train.checkpoint-minutes 0 --finetune.epochs 1 --finetune.split.method random --finetune.device cpu"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus for both pre-training and fine-tuning."""
    folder = tmp_path_factory.mktemp("grid")
    motifs(folder / "corpus", graphs=60)
    return folder


def words(place: Path, out: str, *more: str) -> list[str]:
    both = ["--pretrain", str(place / "corpus"), "--finetune", str(place / "corpus"), "--out", str(place / out)]
    return [*both, "--encoders", "gin", "--seeds", "2", *TINY.split(), *more]


def test_a_grid_is_run_once_and_resumed(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = words(place, "out", "--objectives", "none", "l2p", "--pretrain.train.max-steps", "3")
    assert main([*arguments, "--json"]) == 0
    first = capsys.readouterr()
    value = json.loads(first.out)
    assert "pre-trained 1/1 gin-l2p: " in first.err
    assert "fine-tuned gin 4/4" in first.err
    assert [(cell["objective"], len(cell["scores"])) for cell in value["cells"]] == [("l2p", 2), ("none", 2)]
    assert load_checkpoint(str(place / "out/runs/gin-l2p")).step == 3
    files = place / "out/corpus"
    assert json.loads((files / "results.json").read_text()) == value
    assert "| none | " in (files / "table.md").read_text()

    def nothing_starts(*_: Any, **__: Any) -> None:
        raise AssertionError("a finished cell was trained again")

    monkeypatch.setattr(subprocess, "Popen", nothing_starts)
    assert main([*arguments, "--json"]) == 0
    again = capsys.readouterr()
    assert json.loads(again.out) == value
    assert again.err == ""
    with pytest.raises(RequestError, match=r"gin-l2p: a run with other options exists .*train.max_steps=4"):
        main([*words(place, "out", "--objectives", "l2p", "--pretrain.train.max-steps", "4")])


@pytest.mark.slow
def test_cells_that_cannot_be_trained_do_not_stop_the_grid(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only_edges = ("--objectives", "attrmasking", "--pretrain.attrmasking.target", "edge")  # which have no features here
    assert main(words(place, "missing", *only_edges, "--seeds", "1")) == 0
    table = (place / "missing/corpus/table.md").read_text()
    assert "| attrmasking | - | - |" in table
    assert "- attrmasking (gin): attrmasking.target=edge" in table
    assert "attrmasking (gin): " in capsys.readouterr().out


@pytest.mark.slow
def test_an_interrupted_grid_resumes_its_runs(place: Path) -> None:
    run = open_folder(str(place / "stopped")).sub("runs/gin-l2p")
    more = words(place, "stopped", "--objectives", "l2p", "--pretrain.train.max-steps", "5000")
    more += ["--pretrain.train.epochs", "5000", "--pretrain.train.log-seconds", "0"]
    command = [sys.executable, str(ROOT / "jobs/grid.py"), *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as grid:
        while run.size("progress.json") is None or read_progress(run)["step"] < 3:
            assert grid.poll() is None, grid.communicate()
            time.sleep(0.05)
        grid.send_signal(signal.SIGINT)
        errors = grid.communicate(timeout=120)[1].decode()
    assert grid.returncode == 130, errors
    assert errors.strip() == "distgnn: error: interrupted"
    assert read_progress(run)["status"] == "stopped"
    assert load_checkpoint(run.uri).step == read_history(run)[-1]["step"] >= 3


def test_marks_of_given_scores() -> None:
    clearly_better = made([0.80, 0.83, 0.85], [0.70, 0.72, 0.74], ood=True, name="edgepred")
    worse = made([0.80, 0.60, 0.75], [0.70, 0.72, 0.74], ood=True, name="edgepred")
    grid = Grid(("edgepred",), {"gin": clearly_better, "gat": worse}, {})
    assert rows(grid, "test") == (
        ["objective", "gin", "gat", "average gain"],
        [
            ["none", "72.00 ± 2.00", "72.00 ± 2.00", ""],
            ["edgepred", "82.67 ± 2.52*", "71.67 ± 10.41", "+5.17"],
        ],
    )
    assert rows(grid, "ood")[1][1][1] == "72.67 ± 2.52*"


def test_gains_of_errors_are_negated() -> None:
    grid = Grid(("edgepred",), {"gin": made([1.0, 1.1, 1.3], [0.5, 0.62, 0.77], "regression", name="edgepred")}, {})
    assert rows(grid, "test")[1][1] == ["edgepred", "1.133 ± 0.153* ↓", "-0.503"]


def test_missing_cells_are_left_out_of_the_average_and_explained() -> None:
    both = {"gin": made([0.80], [0.70]), "gat": made([0.75], [0.74])}
    refused = {("l2p", "gat"): "diverged", ("infomax", "gin"): "no a|b", ("infomax", "gat"): "no a|b"}
    grid = Grid(("l2p", "infomax"), both, refused)
    assert rows(grid, "test")[1][1:] == [["l2p", "80.00", "-", "+10.00 (1 of 2)"], ["infomax", "-", "-", "-"]]
    for text in (markdown(grid), terminal(grid)):
        assert "- l2p (gat): diverged\n- infomax (gin, gat): no a|b" in text
    assert grid_summary(grid)["refused"][0] == {"objective": "l2p", "encoder": "gat", "reason": "diverged"}


def test_each_part_has_a_table() -> None:
    grid = Grid(("l2p",), {"gin": made([0.80, 0.9], [0.70, 0.71], ood=True)}, {})
    lines = markdown(grid).splitlines()
    assert [line[:5] for line in lines if line.startswith("|")] == ["| obj", "| ---", "| non", "| l2p"] * 2
    assert sum("full fine-tuning: test" in line for line in lines) == 1
    assert sum("full fine-tuning: ood" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--pretrain.name", "x"), "pretrain.name: set by the grid"),
        (("--finetune.workers", "2"), "finetune.workers: set by the grid"),
        (("--encoders", "gin", "gin"), "encoders must name each of them once"),
        (("--objectives", "magic"), "pretrain.objective='magic' is unknown"),
        (("--encoders", "gin", "transformer"), "encoder.kind='transformer' is unknown"),
        (("--pretrain.train.graphs-per-stream", "0"), "graphs_per_stream must be at least 1"),
        (("--pretrain.init", "runs/x"), "pretrain.init: set by the grid"),
        (("--workers", "0"), "workers must be at least 1"),
        (("--finetune.labels", "taste"), "no label column 'taste'"),
    ],
)
def test_invalid_grids_are_refused(place: Path, more: tuple[str, ...], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        main(words(place, "refused", *more))
    assert not (place / "refused").exists()

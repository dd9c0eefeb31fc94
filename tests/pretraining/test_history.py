"""Progress and history of a run, its console display, and prefetching."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from distgnn.corpus.prefetch import Prefetch
from distgnn.errors import RequestError
from distgnn.pretraining.console import Display, describe
from distgnn.pretraining.history import Recorder, Snapshot, read_history, read_progress, write_failure
from distgnn.pretraining.step import StepResult
from distgnn.storage.folder import Folder, open_folder
from tests.helpers.training import ignore


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distgnn.pretraining.history._ROWS_A_PART", 10)


def peak() -> float:
    return 12.5


def record(folder: Folder, first: int, stop: int, seconds: float = 0.0) -> Recorder:
    """Steps first+1..stop with loss = step."""
    recorder = Recorder(folder, "r", 1000, first, seconds, ignore, peak)
    for step in range(first + 1, stop + 1):
        result = StepResult({"loss": (2.0 * step, 2.0), "link_accuracy": (0.0, 0.0)}, 4, stop=False, applied=step != 3)
        recorder.add(step, result, 0.1, 0.0)
    return recorder


def test_rows_and_snapshot(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    recorder = record(folder, 0, 25)
    recorder.add_validation(25, {"loss": 7.0})
    recorder.finish(25, "stopped")
    rows = read_history(folder)
    assert [row["step"] for row in rows] == [*range(1, 26), 25]
    assert [row["loss"] for row in rows[:-1]] == [float(step) for step in range(1, 26)]
    assert rows[-1]["validation"] == {"loss": 7.0}
    assert "link_accuracy" not in rows[0]
    assert rows[2]["skipped_steps"] == 1
    assert len(folder.sub("history").names()) == 3
    snapshot = read_progress(folder)
    expected = {"run": "r", "status": "stopped", "step": 25, "total": 1000, "validation": {"loss": 7.0}}
    assert {key: snapshot[key] for key in expected} == expected
    assert snapshot["metrics"]["loss"] == 25
    assert snapshot["metrics"]["peak_memory_mb"] == rows[-2]["peak_memory_mb"] == 12.5
    assert snapshot["seconds_left"] > 0


@pytest.mark.parametrize("restart", [0, 6, 10, 11, 17])
def test_repeated_steps_are_listed_once(tmp_path: Path, restart: int) -> None:
    folder = open_folder(str(tmp_path))
    record(folder, 0, 19)
    record(folder, restart, restart + 5)
    assert [row["step"] for row in read_history(folder)] == [*range(1, restart + 6)]


def test_an_interval_is_a_mean_by_weight(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    recorder = Recorder(folder, "r", 10, 0, 3600.0, ignore, peak)
    for step, (value, weight) in enumerate([(1.0, 1.0), (30.0, 3.0)], start=1):
        recorder.add(step, StepResult({"loss": (value, weight)}, 4, stop=False, applied=True), 0.1, float(step))
    assert read_history(folder) == []
    recorder.finish(2, "finished")
    (row,) = read_history(folder)
    assert row["loss"] == pytest.approx(31 / 4)
    assert row["data_wait"] > 1  # two seconds waited in an interval of microseconds


def test_with_a_budget_the_total_is_an_estimate(tmp_path: Path) -> None:
    recorder = Recorder(open_folder(str(tmp_path)), "r", 1000, 0, 3600.0, ignore, peak, budget=30.0)
    assert recorder.write(0, "running")["total"] == 1000
    for step in range(1, 11):
        recorder.add(step, StepResult({"loss": (1.0, 1.0)}, 4, stop=False, applied=True, cpu_seconds=2.0), 0.1, 0.0)
    assert recorder.write(10, "running")["total"] == 15
    assert recorder.write(10, "finished")["total"] == 10


def test_a_failure_keeps_the_last_snapshot(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    with pytest.raises(RequestError, match=r"no progress\.json here"):
        read_progress(folder)
    write_failure(folder, "r", RuntimeError("early"))
    assert "step 0/0" in describe(read_progress(folder))
    record(folder, 0, 3)
    write_failure(folder, "r", RuntimeError("disk full"))
    snapshot = read_progress(folder)
    assert (snapshot["status"], snapshot["error"], snapshot["step"]) == ("failed", "disk full", 3)
    (tmp_path / "progress.json").write_text("{")
    with pytest.raises(RequestError, match="not readable"):
        read_progress(folder)


def snapshot_of(status: str = "running") -> Snapshot:
    metrics = {"loss": 1.5, "link_accuracy": 0.75, "adaptation_gain": 0.25, "graphs_per_s": 1234.0, "data_wait": 0.031}
    shown = {"run": "r", "status": status, "step": 5, "total": 10, "metrics": metrics, "validation": {"loss": 2.0}}
    return {**shown, "seconds_left": 61.0}


def test_the_progress_line() -> None:
    line = "step 5/10 | loss 1.5000 | link acc 0.750 | gain +0.2500 | val loss 2.0000 | 1,234 graphs/s | data wait 3%"
    assert describe(snapshot_of()) == f"{line} | 0:01:01 left"
    assert describe(snapshot_of("stopped")) == f"{line} | stopped"


@pytest.mark.parametrize("terminal", [True, False])
def test_display(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200, highlight=False)
    with Display(console) as display:
        display.show(snapshot_of())
        display.say("[not markup]")
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "loss 1.5000" in text
    assert "[not markup]" in text
    assert ("\x1b[" in text) == terminal


def test_progress_in_a_notebook_stays_in_one_place() -> None:
    """The cell has one output, which is the last snapshot."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    shots = [snapshot_of(), snapshot_of("finished")]
    code = f"""from distgnn.pretraining.console import Display
with Display() as display:
    for shot in {shots!r}:
        display.show(shot)
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output["output_type"] == "display_data"
    assert output["data"]["text/plain"].endswith("data wait 3% | finished")


def test_prefetch_keeps_order_and_counts_waiting() -> None:
    def slow() -> Iterator[int]:
        for number in range(4):
            time.sleep(0.05)
            yield number

    with Prefetch(slow()) as items:
        assert next(items) == 0
        assert items.waited == 0  # the first item is start-up, not waiting
        assert list(items) == [1, 2, 3]
        assert 0.05 < items.waited < 5


def test_prefetch_raises_where_the_source_did() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise RequestError("unit 1: bad")

    with Prefetch(broken()) as items:
        assert next(items) == 1
        for _ in range(2):
            with pytest.raises(RequestError, match="unit 1: bad"):
                next(items)


def test_prefetch_stops_its_thread_and_closes_the_source() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    before = threading.active_count()
    with Prefetch(endless(), depth=2) as items:
        assert next(items) == 1
    assert closed.is_set()
    assert threading.active_count() == before


def test_snapshots_are_plain_json(tmp_path: Path) -> None:
    record(open_folder(str(tmp_path)), 0, 2)
    assert json.loads((tmp_path / "progress.json").read_text())["step"] == 2

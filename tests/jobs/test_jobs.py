"""Scripts in jobs/ run the commands with the same options; the benchmark script prints JSON lines of a fixed form."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from distgnn import cli

ROOT = Path(__file__).resolve().parents[2]
KEYS = ["bench", "case", "metric", "value", "unit", "baseline", "baseline_value", "ratio", "runs"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs jobs/bench.py without real data, in another folder (it writes build/bench there)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTGNN_DATA", str(tmp_path / "absent"))
    monkeypatch.syspath_prepend(str(ROOT / "jobs"))

    def run(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["bench.py", *words])
        runpy.run_path(str(ROOT / "jobs/bench.py"), run_name="__main__")

    return run


def test_bench_writes_one_json_object_per_line(
    bench: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench("tasks", "--json", "--quick")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(line) for line in lines] == [KEYS] * 2
    assert all(line["case"] == "motifs" and line["value"] > 0 for line in lines)
    assert lines[1]["ratio"] == lines[1]["value"] / lines[1]["baseline_value"]
    assert json.loads((tmp_path / "build/bench/tasks.json").read_text())["lines"] == lines


def test_bench_reports_an_unknown_name(
    bench: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        bench("speed")
    assert stop.value.code == 2
    assert "unknown name 'speed'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("build_corpus", ["corpus", "build"]),
        ("pretrain", ["pretrain"]),
        ("finetune", ["finetune"]),
        ("transfer", ["transfer"]),
        ("tune", ["tune"]),
        ("evaluate", ["evaluate"]),
    ],
)
def test_a_job_runs_its_command(script: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(cli, "main", lambda given: calls.append(given) or 2)
    monkeypatch.setattr(sys, "argv", [f"jobs/{script}.py", "--name", "b c", "--json"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "jobs" / f"{script}.py"), run_name="__main__")
    assert stop.value.code == 2, "the exit code is that of the command"
    assert calls == [[*words, "--name", "b c", "--json"]]

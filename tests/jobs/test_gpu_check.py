"""jobs/gpu_check.py: its page, and checks that fail or do not exist. The checks themselves need a GPU; copies run anywhere."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from jobs.benches.gpu_runs import check_gloo

ROOT = Path(__file__).resolve().parents[2]


def check(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "jobs/gpu_check.py", "--device", "cpu", "--out", str(out), *words]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_a_check_writes_its_numbers_and_its_page(tmp_path: Path) -> None:
    done = check(tmp_path, "copies")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert [row["copy"] for row in record["checks"]["copies"]["rows"]] == ["pageable", "page-locked, side stream"]
    page = (tmp_path / "gpu.md").read_text()
    assert page.startswith("# GPU check\n\nAll checks passed.")
    assert "| pageable |" in page


@pytest.mark.slow
def test_a_check_over_its_time_limit_fails_alone(tmp_path: Path) -> None:
    done = check(tmp_path, "copies", "--seconds", "0.1")
    assert done.returncode == 1
    page = (tmp_path / "gpu.md").read_text()
    assert "Failed: copies." in page
    assert "**Failed:** over 0.1 s" in page


@pytest.mark.slow
def test_two_ranks_that_share_a_device() -> None:
    """The check of a GPU, on the CPU: two processes give the losses of one, with ``train.exact`` to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = check_gloo("cpu")
    finally:
        torch.set_num_threads(before)
    assert found.failures == []
    assert [(row["run"], row["steps"]) for row in found.rows] == [("2 ranks, plain", 8), ("2 ranks, exact", 8)]
    assert found.rows[1]["difference"] == 0


def test_unknown_check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(ROOT / "jobs")
    gpu_check = importlib.import_module("gpu_check")
    assert gpu_check.run(gpu_check.Options(names=("copy",), device="cpu")) == 2
    assert capsys.readouterr().err.startswith("gpu_check: unknown check 'copy'; the checks are equality, ")

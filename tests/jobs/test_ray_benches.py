"""Benchmarks that start Ray run with --quick, and their figures are possible ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def quick(name: str, folder: Path) -> list[dict[str, Any]]:
    """Lines of a benchmark, without real data."""
    words = [sys.executable, str(ROOT / "jobs/bench.py"), name, "--quick", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DISTGNN_DATA": str(folder / "absent")}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=540)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(row) for row in done.stdout.splitlines()]


@pytest.mark.ray
@pytest.mark.slow
def test_reading(tmp_path: Path) -> None:
    lines = {line["metric"]: line for line in quick("reading", tmp_path)}
    for metric in ("units of all ranks", "longest wait of a rank"):
        assert min(lines[metric]["value"], lines[metric]["baseline_value"]) > 0
    busy, idle = lines["CPUs that read for Ray Data, of 6 beside the ranks"]["value"], lines["of these idle"]["value"]
    assert busy > 0
    assert busy + idle == pytest.approx(6)
    assert (
        lines["start: until every rank has units of Ray Data"]["value"]
        > lines["start: first unit of the last rank"]["value"]
    )
    assert lines["steady state: waits over 1.5 s"]["value"] >= 0
    for side in ("ray", "rank"):
        assert lines[f"{side}: units read on the head"]["value"] == 0
        assert lines[f"{side}: units read on each other node"]["value"] > 0


@pytest.mark.ray
@pytest.mark.slow
def test_stream(tmp_path: Path) -> None:
    lines = quick("stream", tmp_path)
    cases = [f"motifs, {cores}" for cores in ("1 core", "2 cores")[: os.cpu_count()]]
    for case in cases:
        rate, warm, cold = (line for line in lines if line["case"] == case)
        assert rate["baseline"] == warm["baseline"] == "rank"
        assert min(rate["value"], rate["baseline_value"], warm["value"], cold["value"]) > 0
    assert lines[-1]["unit"] == "%"

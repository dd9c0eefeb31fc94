"""Comparison of readouts: methods of a study's folder, the report, refusals."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import distgnn as dg
from distgnn.cli import main as distgnn
from distgnn.errors import RequestError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def readouts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "jobs"))
    import readouts as module

    probe = replace(module.PROBE, train_labels=(8,), updates=(2,), draws=2, test_graphs=20, labels=("square",))
    monkeypatch.setattr(module, "PROBE", probe)
    yield module
    sys.modules.pop("readouts")


def test_readouts_of_a_study_are_compared(readouts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "corpora" / "one"
    assert distgnn(["corpus", "build", "motifs", "--graphs", "60", "--out", str(corpus)]) == 0
    size = {"encoder": {"layers": 1, "width": 4}, "train": {"max_steps": 1, "streams": 1, "graphs_per_stream": 4}}
    for name, steps in (("l2p", 1), ("joint", 0)):
        options: Any = {**size, "l2p": {"node_steps": steps, "graph_steps": steps}}
        dg.pretrain(corpus=str(corpus), out=str(tmp_path / "runs"), name=f"motifs-{name}-0", **options)
    words = ["--study", str(tmp_path), "--domain", "motifs", "--sets", "one", "--seeds", "1", "--out", str(tmp_path)]
    capsys.readouterr()
    assert readouts.main(words) == 0
    text, found = capsys.readouterr().out, json.loads((tmp_path / "motifs.json").read_text())
    assert text.strip() == (tmp_path / "motifs.md").read_text().strip()
    pairs = [(record["method"], record["reference"]) for record in found["records"]]
    assert pairs == [pair for pair in readouts.COMPARISONS if "paper" not in pair]
    assert [row["method"] for row in found["changes"]] == ["l2p adapted", "l2p adapted 3", "joint adapted 1"]
    assert all(row["change"] > 0 for row in found["changes"])


def test_unknown_methods_are_refused(readouts: Any) -> None:
    with pytest.raises(RequestError, match="is not one of l2p, paper, joint"):
        readouts.main(["--methods", "edgepred"])

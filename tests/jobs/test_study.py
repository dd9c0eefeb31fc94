"""Studies: the file, pre-training at equal graphs and equal CPU, the report, and continuing after an interruption."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import distgnn as dg
from distgnn.errors import RequestError
from distgnn.finetuning.few_labels import FewLabelScores
from distgnn.labels.resampling import effect, pooled_effect
from distgnn.report import study as report
from distgnn.report.study import Study

ROOT = Path(__file__).resolve().parents[2]
FILE = """
title = "Small"
seeds = 1
equal_cpu_to = "attrmasking"
comparisons = [["attrmasking", "edgepred@cpu"]]
pretrain.encoder = { layers = 1, width = 4 }
pretrain.train = { max_steps = 2, streams = 1, graphs_per_stream = 4, validation_fraction = 0.0 }
evaluate = { train_labels = [8], updates = [1, 2], draws = 2, test_graphs = 20, norm_graphs = 10 }
methods = { attrmasking = { objective = "attrmasking" }, edgepred = { objective = "edgepred" } }
domains = { motifs = { build = "motifs --graphs 40 --labelled 0" } }
sets = { one = { domain = "motifs", build = "motifs --graphs 60 --seed 1", labels = ["square"] } }
"""


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "jobs"))
    import study as module

    yield module
    sys.modules.pop("study")


def scores(seed: int, metric: str = "roc_auc", seeds: int = 2) -> FewLabelScores:
    rng = np.random.default_rng(seed)
    values = {("a", 100, 30): rng.normal(size=(seeds, 5)), ("none", 100, 30): rng.normal(size=(1, 5))}
    data: Any = SimpleNamespace(parts={"all": range(20)})
    config: Any = None
    return FewLabelScores(config, data, ("a", "none"), {"a": "none"}, values, 1.0, metric, (4,), 1.0)


def test_records_count_sets_beyond_two_standard_errors_and_pool() -> None:
    sets = {"one": scores(0), "two": scores(1), "errors": scores(2, "rmse")}
    sets["one"].scores["a", 100, 30] += 10
    found = Study("s", sets, report.against_control(["a"]), {})
    record = report.records(found)[0]
    each = [effect(*_pair(one), 0.25) for one in sets.values()]
    pooled = pooled_effect([_pair(sets["one"]), _pair(sets["two"])], [0.25, 0.25])
    assert record["sets"] == 3
    assert record["difference"] == pytest.approx(pooled.difference)
    assert (record["low"], record["p_holm"]) == pytest.approx((pooled.low, pooled.p))
    assert record["better"] == 1
    gains = [each[0].difference, each[1].difference, -each[2].difference]
    assert record["positive"] == sum(gain > 0 for gain in gains)
    text = report.markdown(found)
    assert f"**{100 * each[0].difference:+.2f}" in text
    assert f"{-each[2].difference:+.3f}" in text
    assert len(report.figure(found, (100, 30)).axes) == 1


def _pair(one: FewLabelScores) -> tuple[np.ndarray, np.ndarray]:
    return one.scores["a", 100, 30], one.scores["none", 100, 30]


def test_the_core_study_is_valid(study: Any) -> None:
    core = study.read_study(str(ROOT / "docs/results/core.toml"))
    assert len(core.sets) >= 10
    assert core.seeds == 5
    assert "joint@cpu" in core.names
    options = study.merged(core.pretrain, core.methods["joint"], {"corpus": "x"})
    assert study.from_json(study.PretrainConfig, options, "x").l2p.node_steps == 0
    assert study.from_json(study.FewLabelConfig, core.evaluate | {"corpus": "x"}, "x").few_labels


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds = 1", "seeds = 0", "seeds must be at least 1"),
        ('domain = "motifs"', 'domain = "x"', "sets.one.domain must be one of motifs"),
        ('"edgepred@cpu"]', '"other"]', "is not a method"),
        ('equal_cpu_to = "attrmasking"', 'equal_cpu_to = "other"', "equal_cpu_to=other is not a method"),
        ("title", "= title", "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_line(study: Any, tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(FILE.replace(old, new))
    with pytest.raises(RequestError, match=words):
        study.read_study(str(path))


def test_some_methods_now(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.toml"
    path.write_text(FILE)
    with pytest.raises(RequestError, match="is not in"):
        study.main([str(path), "--methods", "edgepred", "other"])
    trained: list[str] = []

    def finish(cells: list[Any], workers: int) -> dict[str, str]:  # noqa: ARG001
        trained.extend(cell.name for cell in cells)
        return {}

    monkeypatch.setattr(study, "pretrain_cells", finish)
    monkeypatch.setattr(study.Campaign, "corpus", lambda self, name, given: name)  # noqa: ARG005
    config = study.StudyConfig(str(path), out=str(tmp_path), methods=("edgepred",))
    study.Campaign(study.read_study(str(path)), config).pretrain(["motifs"])
    assert trained == ["motifs-edgepred-0"]


@pytest.mark.slow
def test_a_study_runs_and_continues(
    study: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file, out = tmp_path / "study.toml", tmp_path / "out"
    file.write_text(FILE)
    words = [str(file), "--out", str(out)]
    assert study.main(words) == 0
    first = json.loads((out / "study.json").read_text())
    environment = json.loads((out / "environment.json").read_text())
    assert environment["command"] == f"study --file {file}"
    assert (
        len([name for name in environment if name.startswith("data ")]) == 2
    )  # the corpus of the set and of its domain
    page = Path(dg.write_report(str(out))).read_text()
    assert f"python jobs/study.py --file {file} --out OTHER_FOLDER" in page
    assert "points of AUC" in page
    names = [(one["method"], one["reference"]) for one in first["records"][:4]]
    assert names == [(m, "none") for m in ("attrmasking", "edgepred", "edgepred@cpu")] + [
        ("attrmasking", "edgepred@cpu")
    ]
    assert {path.name for path in (out / "pictures").iterdir()} == {"8-labels-1-updates.png", "8-labels-2-updates.png"}
    progress = json.loads((out / "runs/motifs-edgepred@cpu-0/progress.json").read_text())
    budget = json.loads((out / "runs/motifs-attrmasking-0/progress.json").read_text())["cost"]["cpu_seconds"]
    assert progress["status"] == "finished"
    assert progress["cost"]["cpu_seconds"] >= budget
    next((out / "sets/one/jobs").iterdir()).unlink()
    (out / "study.json").unlink()
    capsys.readouterr()
    assert study.main(words) == 0
    assert json.loads((out / "study.json").read_text())["records"] == first["records"]
    assert "1/8" not in capsys.readouterr().err  # only the deleted training ran

"""Studies: the file, pre-training at equal graphs and equal CPU, the report, and continuing after an interruption."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import distgnn as dg
from distgnn.errors import RequestError, WorkError
from distgnn.finetuning.few_labels import FewLabelScores
from distgnn.labels.resampling import effect, pooled_effect
from distgnn.report import study as report
from distgnn.report.result_sections import StudyRecord, study_verdicts
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
    assert record["sets_pooled"] == 2
    assert "| sets | sets pooled |" in text
    (verdict,) = study_verdicts([StudyRecord("a", "none", sets=3, sets_pooled=2, difference=0.1)])
    assert "pooled over 2 set(s)" in verdict
    assert "Not in the pooled gain, which is of ROC-AUC: errors (rmse)." in text
    uneven = Study("s", {"one": scores(0), "two": scores(1, seeds=3)}, report.against_control(["a"]), {})
    assert report.records(uneven)[0]["sets_pooled"] == 0
    assert "since their sets have different numbers of seeds: a - none." in report.markdown(uneven)
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
        (
            'objective = "edgepred"',
            'init = "x"',
            "methods.edgepred.init=x is not a method; there are attrmasking, edgepred",
        ),
        ('objective = "edgepred"', 'init = "edgepred"', "init=edgepred makes a cycle .edgepred from edgepred"),
    ],
)
def test_a_wrong_file_is_one_line(study: Any, tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(FILE.replace(old, new))
    with pytest.raises(RequestError, match=words):
        study.read_study(str(path))


CHAIN = """
l2p = { objective = "edgepred", init = "attrmasking" }, last = { objective = "edgepred", init = "l2p" } }"""


def chained(study: Any, path: Path, **options: Any) -> Any:
    """A campaign whose methods are attrmasking, edgepred, l2p from attrmasking, and last from l2p."""
    path.write_text(FILE.replace('{ objective = "edgepred" } }', '{ objective = "edgepred" }, ' + CHAIN.strip()))
    return study.Campaign(
        study.read_study(str(path)), study.StudyConfig(str(path), str(path.parent / "out"), **options)
    )


def test_methods_come_after_those_that_they_start_from(study: Any, tmp_path: Path) -> None:
    found = chained(study, tmp_path / "study.toml")
    assert found.study.starts("last@cpu") == ("l2p", "attrmasking")
    plain = [["attrmasking", "edgepred"], ["l2p"], ["last"]]
    assert found.waves() == [*plain, ["edgepred@cpu"], ["l2p@cpu"], ["last@cpu"]]
    assert chained(study, tmp_path / "study.toml", methods=("last",)).waves() == [["attrmasking"], ["l2p"], ["last"]]


def test_a_method_starts_from_the_checkpoint_of_its_seed(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU seconds of what it starts from count, and a start that was refused refuses it."""
    costs = {"attrmasking": 5.0, "l2p": 7.0, "last": 9.0}
    monkeypatch.setattr(study.Campaign, "corpus", lambda self, name, given: name)  # noqa: ARG005
    monkeypatch.setattr(study, "resolve", lambda uri: SimpleNamespace(uri=f"{uri}/checkpoint"))
    monkeypatch.setattr(study, "pretraining_cost", lambda uri: {"cpu_seconds": costs[uri.split("-")[-2]]})
    found = chained(study, tmp_path / "study.toml", methods=("l2p", "l2p@cpu", "last"))
    assert found.cell("motifs", "l2p", 3).init == f"{tmp_path}/out/runs/motifs-attrmasking-3/checkpoint"
    budget = study.Campaign(replace(found.study, equal_cpu_to="last"), found.config).cell("motifs", "l2p@cpu", 3)
    assert (budget.train.max_cpu_seconds, budget.init) == (4.0, found.cell("motifs", "l2p", 3).init)
    with pytest.raises(RequestError, match=r"attrmasking-3, which it starts from, took 5\.0 of"):
        found.cell("motifs", "l2p@cpu", 3)
    refused: dict[str, str] = {"motifs-attrmasking-0": "diverged"}
    monkeypatch.setattr(study, "pretrain_cells", lambda cells, workers: refused)  # noqa: ARG005
    monkeypatch.setattr(study.Campaign, "_check_refused", lambda self, reasons: None)  # noqa: ARG005
    reasons = found.pretrain(["motifs"])
    assert reasons["motifs-l2p-0"] == "motifs-attrmasking-0, which it starts from, was refused"
    assert set(reasons) == {f"motifs-{name}-0" for name in ("attrmasking", "l2p", "last", "l2p@cpu")}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("train_labels = [8]", "train_labels = [60]", "sets.one: .*train_labels=60, but 20 test graphs leave 40"),
        ('labels = ["square"]', 'labels = ["no"]', "sets.one: .*no label column 'no'"),
        ("updates = [1, 2], draws = 2", "", "option of few-label evaluation"),
        (
            '{ objective = "edgepred" }',
            "{ encoder = { heads_ = 1 } }",
            "methods.edgepred.encoder.heads_: unknown field",
        ),
        (
            '{ objective = "edgepred" }',
            '{ init = "attrmasking", encoder = { width = 8 } }',
            "differs from that of attr",
        ),
    ],
)
def test_an_impossible_study_fails_before_training(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, words: str
) -> None:
    path = tmp_path / "study.toml"
    path.write_text(FILE.replace(old, new).replace("train_labels = [8], ,", ""))
    monkeypatch.setattr(study.Campaign, "pretrain", lambda self, domains: pytest.fail("trained"))  # noqa: ARG005
    with pytest.raises(RequestError, match=words):
        study.main([str(path), "--out", str(tmp_path / "out")])


def test_a_set_that_fails_is_listed_and_others_go_on(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.toml"
    path.write_text(FILE.replace("sets = { one", 'sets = { bad = { domain = "motifs" }, one'))

    def evaluate(self: Any, name: str, refused: dict[str, str]) -> Any:  # noqa: ARG001
        if name == "bad":
            raise WorkError("bad diverged")
        return SimpleNamespace(comparison=scores(0))

    for name, value in {"evaluate": evaluate, "pretrain": lambda self, domains: {}}.items():  # noqa: ARG005
        monkeypatch.setattr(study.Campaign, name, value)
    for name in ("check_sets", "check_methods"):
        monkeypatch.setattr(study.Campaign, name, lambda self, names: None)  # noqa: ARG005
    monkeypatch.setattr(study.Campaign, "digests", lambda self, sets: {})  # noqa: ARG005
    assert study.guarded(lambda: study.main([str(path), "--out", str(tmp_path / "out")])) == 2
    assert "these sets could not be evaluated: bad (bad diverged)" in capsys.readouterr().err
    written = json.loads((tmp_path / "out/study.json").read_text())
    assert (written["sets"], written["failed"]) == (["one"], {"bad": "bad diverged"})
    assert "Set not evaluated: bad: bad diverged" in (tmp_path / "out/study.md").read_text()
    assert "bad diverged" in Path(dg.write_report(str(tmp_path / "out"))).read_text()


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
def test_a_study_with_a_start_runs_and_continues(
    study: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path, out = chained(study, tmp_path / "study.toml").config.file, str(tmp_path / "out")
    for _ in range(2):
        assert study.main([path, "--out", out, "--methods", "l2p"]) == 0
    assert capsys.readouterr().err.count("pre-trained") == 2  # each run once
    table = json.loads(Path(out, "sets/one/results.json").read_text())["summary"]
    assert {row["pretrain_graphs"] for row in table if row["method"] == "l2p"} == {16.0}  # twice 2 steps of 4 graphs


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

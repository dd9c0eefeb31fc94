"""Reports: one page about the folders of commands, read as HTML and opened in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

import distgnn as dg
from distgnn.api.output import data_digests
from distgnn.cli import main
from distgnn.config.database_model import DatabasePretrainConfig
from distgnn.report.board import Board
from distgnn.report.charts import Titles, line_spec
from distgnn.report.folders import section_of
from distgnn.report.side_by_side import compared
from distgnn.report.summary import Score, charts, table, verdicts
from distgnn.storage.folder import open_folder
from distgnn.storage.uri import join
from tests.helpers.browser import needs_chromium, opened_with_axe
from tests.helpers.databases import frames, write_database
from tests.helpers.kinds import write_first_kinds


@pytest.fixture(scope="module")
def folders(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of the kinds that are made in seconds."""
    return write_first_kinds(tmp_path_factory.mktemp("report"), corpus)


@pytest.fixture(scope="module")
def page(folders: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page about all of them."""
    out = tmp_path_factory.mktemp("page") / "page.html"
    return Path(dg.write_report(list(folders.values()), str(out))).read_text()


def text(html: str) -> str:
    """Text of a page without scripts and styles."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style).*?</\1>", " ", html, flags=re.DOTALL))


def test_a_page_of_every_kind(page: str) -> None:
    read = text(page)
    for heading in (
        "Comparison of the runs",
        "Corpus labelled",
        "Run first",
        "Results few",
        "Sweep sweep",
        "Study study",
    ):
        assert heading in read
    assert "distgnn pretrain --config" in read
    assert "finished at step 6" in read
    assert "20 (each of 2)" in read
    assert re.search(r"l2p is (better|worse) than none by", read)
    assert "&lt;b&gt;Core" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page.split("<script>")[0])
    specs = [json.loads(found) for found in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    assert len(specs) >= 8
    assert all(spec["data"]["values"] for spec in specs)


def test_headers_say_how_data_and_results_were_made(folders: dict[str, str], tmp_path: Path) -> None:
    """Command, versions, machine, config and digests of the data, also of corpora, sweeps and studies."""
    digest = dg.Corpus(folders["corpus"]).manifest.digest()
    for kind, command in (
        ("corpus", "distgnn corpus build motifs --config"),
        ("run", "distgnn pretrain --config"),
        ("few labels", "distgnn finetune --config"),
    ):
        section = section_of(folders[kind])
        assert section.facts["to repeat it"].startswith(command), kind
        assert "torch" in section.facts["versions"], kind
        assert "cores" in section.facts["machine"], kind
        assert '"out"' in section.details, kind
    assert section_of(folders["few labels"]).facts["data"] == f"{folders['corpus']} (digest {digest})"
    assert "(digest " in section_of(folders["run"]).facts["data"]
    assert '"trials"' in section_of(folders["sweep"]).details
    assert '"title"' in section_of(folders["study"]).details
    graph = Data(x=torch.zeros(2, 1, dtype=torch.long), edge_index=torch.tensor([[0, 1], [1, 0]]))
    dg.write_corpus([graph], tmp_path / "mine", dg.Schema(node=(dg.Feature("kind", "categorical", 2),)))
    mine = section_of(str(tmp_path / "mine")).facts
    assert "versions" in mine
    assert "to repeat it" not in mine  # it was a function of Python
    raw = folder_bytes(folders["corpus"])
    assert (
        main(
            [
                "corpus",
                "build",
                "motifs",
                "--config",
                f"{folders['corpus']}/config.json",
                "--out",
                str(tmp_path / "again"),
            ]
        )
        == 0
    )
    assert folder_bytes(str(tmp_path / "again")) == raw


def folder_bytes(corpus: str) -> bytes:
    return (Path(corpus) / "corpus.json").read_bytes()


def test_digests_of_data_that_configs_read(folders: dict[str, str], tmp_path: Path) -> None:
    store = write_database(tmp_path / "shop", frames(customers=30, orders=50))
    built = dg.build_database(input=str(store), out=str(tmp_path / "store"))
    facts = section_of(str(tmp_path / "store")).facts
    assert facts["to repeat it"].startswith("distgnn database build --config")
    config = DatabasePretrainConfig((str(tmp_path / "store"), folders["corpus"], "nowhere", folders["run"]))
    assert built is not None
    assert data_digests(config) == {
        str(tmp_path / "store"): facts["digest"],
        folders["corpus"]: dg.Corpus(folders["corpus"]).manifest.digest(),
    }


def test_databases(tmp_path: Path) -> None:
    records = [
        {"task": f"shop/{task}", "method": method, "labels": labels, "draw": 0, "score": score, "binary": True}
        for task, shift in (("one", 0.0), ("two", 0.03), ("three", 0.01))
        for labels in (16, 64)
        for method, score in (("pre-trained", 0.7 + shift), ("forest + linear", 0.66))
    ]
    told = {
        "evaluation": {"records": records},
        "prediction": {"task": "churn-90d", "context": 64, "score": 0.7, "metric": "auroc", "columns": [["a.b", 0.4]]},
    }
    for name, values in told.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(values))
    read = text(Path(dg.write_report([str(tmp_path / name) for name in told], str(tmp_path / "page.html"))).read_text())
    assert "64 labels: pre-trained is better than forest + linear by 0.0533 ± " in read
    assert "The predictions from 64 labels score 0.7000 (auroc; 0.5 = chance)." in read
    assert "churn-90d" in read
    for values in ({"records": [{"task": 1}]}, {"columns": [["a"]]}):
        (tmp_path / "prediction" / "results.json").write_text(json.dumps(values))
        with pytest.raises(dg.RequestError, match=r"results\.json: not the"):
            dg.write_report(str(tmp_path / "prediction"), str(tmp_path / "page.html"))


def test_a_single_folder_gets_its_own_page(folders: dict[str, str]) -> None:
    uri = dg.write_report(folders["run"])
    assert uri == join(folders["run"], "report.html")
    assert dg.write_report(folders["run"]) == uri
    assert "Comparison of the runs" not in text(Path(uri).read_text())


@pytest.mark.usefixtures("page")
def test_a_report_of_a_sweep_writes_its_page_again(folders: dict[str, str]) -> None:
    assert "Trials" in (Path(folders["sweep"]) / "sweep.html").read_text()


def test_what_cannot_be_reported_is_refused(folders: dict[str, str], tmp_path: Path) -> None:
    out = str(tmp_path / "page.html")
    checkpoint = dg.Run.open(folders["run"]).checkpoint
    for given, said in [([], "no folder"), (tmp_path, "nothing to report here"), (checkpoint, "is a checkpoint")]:
        with pytest.raises(dg.RequestError, match=said):
            dg.write_report(given if isinstance(given, list) else str(given), out)
    with pytest.raises(dg.RequestError, match="several folders make one page"):
        dg.write_report([folders["run"], folders["study"]])
    with pytest.raises(dg.RequestError, match=r"ends in \.html"):
        dg.write_report(folders["run"], str(tmp_path / "page.txt"))
    (tmp_path / "page.html").write_text("my thesis")
    with pytest.raises(dg.RequestError, match="is no HTML page, so it is not replaced"):
        dg.write_report(folders["run"], out)
    assert (tmp_path / "page.html").read_text() == "my thesis"


@pytest.mark.parametrize(
    "damage", ['{"summary": [1]}', '{"summary": [{"method": "a"}]}', "[]", '{"summary": [{"method": 1}]}']
)
def test_damaged_results_are_refused(tmp_path: Path, damage: str) -> None:
    (tmp_path / "results.json").write_text(damage)
    with pytest.raises(dg.RequestError, match=r"results\.json: not a file of results"):
        dg.write_report(str(tmp_path), str(tmp_path / "page.html"))
    assert not open_folder(str(tmp_path)).size("page.html")


@needs_chromium
def test_a_browser_draws_accessible_charts_without_errors(page: str, tmp_path: Path) -> None:
    dom, wrong = opened_with_axe(page, tmp_path)
    assert wrong == {}
    charts = page.count("application/json")
    assert dom.count('<svg xmlns="http://www.w3.org/2000/svg"') >= charts > 0
    assert dom.count('class="still" hidden') == charts


def test_runs_of_a_folder_are_listed(
    folders: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(Path(folders["run"]).parent)
    table = dg.list_runs(place).set_index("name")
    kinds = {
        "labelled": "corpus",
        "first": "run",
        "second": "run",
        "few": "results",
        "sweep": "sweep",
        "study": "study",
    }
    assert dict(table["kind"]) == kinds
    assert table.loc["first", "status"] == "finished"
    assert table.loc["first", "step"] == 6
    assert main(["runs", place]) == 0
    assert "│ second" in capsys.readouterr().out
    with pytest.raises(dg.RequestError, match="no such folder, or nothing in it"):
        dg.list_runs(str(tmp_path / "none"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "progress.json").write_text("{")
    (tmp_path / "file.txt").write_text("")
    assert list(dg.list_runs(str(tmp_path))["status"]) == ["damaged"]


def test_runs_are_compared_in_the_terminal(folders: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """The tables of the report's comparison."""
    place = str(Path(folders["run"]).parent)
    assert main(["runs", place, "--compare", "first", "second", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["comparisons"]
    (section,) = compared([folders["run"], folders["second run"]])
    assert (found["of"], found["titles"], found["rows"]) == (
        section.heading,
        section.tables[0].titles,
        section.tables[0].body,
    )
    assert main(["runs", place, "--compare", "first", "second"]) == 0
    assert "Comparison of the runs" in capsys.readouterr().out
    for names, said in (
        (["first"], "name two or more"),
        (["first", "few"], "name two or more"),
        (["first", "none"], "no finished run here"),
        (["first", "--delete", "first"], "exclude each other"),
    ):
        assert main(["runs", place, "--compare", *names]) == 2
        assert said in capsys.readouterr().err


def test_a_line_of_one_point_is_marked() -> None:
    table = pd.DataFrame({"x": [1, 2, 2], "y": [1.0, 2.0, 3.0], "line": ["training", "training", "validation"]})
    spec = line_spec(table, Titles("Loss", "", "step", "loss"))
    assert spec["layer"][-1]["transform"] == [{"filter": {"field": "line", "oneOf": ["validation"]}}]
    assert len(line_spec(table.head(2), Titles("Loss", "", "step", "loss"))["layer"]) == 1


def test_verdicts_and_differences_are_of_the_first_metric() -> None:
    """Other metrics are in the table; what validation chooses is compared with none from scratch."""
    common = {"encoder": "gcn", "part": "test", "control": "none", "p": 0.5, "p_holm": 1.0}
    auto = Score("auxts_all", "auc", 0.8, scheme="auto", difference=0.02, low=-0.1, high=0.14, **common)
    scores = [auto, Score("auxts_all", "ndcg@20", 0.3, scheme="auto", difference=0.2, **common)]
    assert verdicts(scores) == [
        "What validation chooses for auxts_all is better than none from scratch by 2.00 (95 % interval -10.00 to +14.00) in auc:"
        " auto, gcn, test; not significant, corrected p = 1.",
        "The table also has ndcg@20.",
    ]
    (chart,) = charts(scores)
    assert chart.spec is not None
    assert [row["value"] for row in chart.spec["data"]["values"]] == [2.0]
    assert len(table(scores).body) == 2


def test_a_comparison_without_results_yet_is_listed_and_not_reported(tmp_path: Path) -> None:
    """By the trainings it has done; in the board and in the list of runs."""
    (tmp_path / "going" / "jobs").mkdir(parents=True)
    (tmp_path / "going" / "config.json").write_text("{}")
    assert dg.list_runs(str(tmp_path)).empty
    for name in ("a.safetensors", "b.safetensors", ".c.distgnn-tmp-1"):
        (tmp_path / "going" / "jobs" / name).write_bytes(b"")
    status = "unfinished, 2 trainings done"
    (listed,) = dg.list_runs(str(tmp_path)).to_dict("records")
    (row,) = Board(open_folder(str(tmp_path))).state()["rows"]
    assert (listed["kind"], listed["status"]) == (row["kind"], row["status"]) == ("results", status)
    with pytest.raises(dg.RequestError, match=f"no results yet .{status}.; start its command again"):
        dg.write_report([tmp_path / "going"], tmp_path / "page.html")


def test_a_checkpoint_is_not_listed_as_a_corpus(folders: dict[str, str]) -> None:
    """It holds the manifest of its corpus."""
    place = str(Path(dg.Run.open(folders["run"]).checkpoint).parent)
    assert dg.list_runs(place).empty


def test_versions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"distgnn {dg.__version__}\npython 3.")

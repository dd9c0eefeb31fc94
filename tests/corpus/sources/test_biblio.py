"""The biblio sources: tables and PreDBLP's JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distgnn.corpus.inspect import cat
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources.biblio import BiblioConfig, word_class
from distgnn.errors import RequestError
from tests.helpers.corpora import build, real

TABLES = {
    "paper_author": "p1\ta1\np1\ta2\np2\ta1\np3\ta1\np4\ta1\np5\ta3\np1\ta1\n",
    "paper_term": "p1\tt1\np2\tt1\np2\tt2\np5\tt2\n",
    "paper_conf": "p1\tc1\np2\tc2\np3\tc1\np4\tc1\n",
    "conf": "c1\tKDD\nc2\tAAAI\n",
    "conf_label": "c1\t1\tKDD\t\nc2\t0\tAAAI\t\n",
}


def tables(tmp_path: Path, **changes: str | None) -> str:
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    for name, text in (TABLES | changes).items():
        if text is None:
            (folder / f"{name}.txt").unlink(missing_ok=True)
        else:
            (folder / f"{name}.txt").write_text(text)
    return str(folder)


def load(tmp_path: Path, folder: str, **options: Any) -> tuple[list[dict[str, Any]], CorpusReader]:
    out = str(tmp_path / "out")
    build("biblio", BiblioConfig(input=(folder,), out=out, overwrite=True, **options))
    reader = CorpusReader(out, labels=True)
    return list(cat(out, 0, reader.manifest.graphs)), reader


def test_paper_centred_graphs(tmp_path: Path) -> None:
    graphs, reader = load(tmp_path, tables(tmp_path))
    assert [graph["group"] for graph in graphs] == ["KDD", "AAAI", "KDD", "KDD", None]
    assert [graph["y"]["area"] for graph in graphs] == [1, 0, 1, 1, None]
    first = graphs[0]
    assert first["node"]["type"] == [0, 0, 0, 0, 1, 1, 2, 3]  # p1 p2 p3 p4, a1 a2, t1, c1
    assert first["center"] == 0
    assert {tuple(sorted(edge)) for edge in first["edges"]} == {
        *((0, 4), (1, 4), (2, 4), (3, 4), (0, 5)),
        *((0, 6), (1, 6)),
        *((0, 7), (2, 7), (3, 7)),
    }
    assert len(first["edges"]) == 10
    assert graphs[4]["node"]["type"] == [0, 1, 2]
    assert reader.manifest.schema.group == "venue"


def test_tables_that_change_between_builds_are_read_again(tmp_path: Path) -> None:
    before = load(tmp_path, tables(tmp_path))[0]
    text = TABLES["paper_term"]
    after = load(tmp_path, tables(tmp_path, paper_term=text + text.splitlines()[0].split("\t")[0] + "\tt9\n"))[0]
    assert sum(len(graph["edges"]) for graph in after) > sum(len(graph["edges"]) for graph in before)


def test_options_change_the_graphs(tmp_path: Path) -> None:
    folder = tables(tmp_path)
    graphs, _ = load(tmp_path, folder, drop_venue=True)
    assert 3 not in graphs[0]["node"]["type"]
    assert (graphs[0]["group"], graphs[0]["y"]["area"]) == ("KDD", 1)
    capped, _ = load(tmp_path, folder, papers_per_author=1)
    assert all(graph["node"]["type"].count(0) <= 1 + graph["node"]["type"].count(1) for graph in capped)
    assert capped[0]["node"]["type"].count(0) < graphs[0]["node"]["type"].count(0)
    narrow, _ = load(tmp_path, folder, fan_out=1)
    assert all(graph["node"]["type"].count(1) <= 1 for graph in narrow)
    seeds = [json.dumps(load(tmp_path, folder, papers_per_author=1, seed=seed)[0]) for seed in range(4)]
    assert len(set(seeds)) > 1
    assert load(tmp_path, tables(tmp_path, conf_label=None))[1].manifest.schema.labels == ()


def test_words_of_terms_are_classes_that_all_corpora_share(tmp_path: Path) -> None:
    folder = tables(tmp_path, term="t1\tGraph\nt9\tunused\nt2\tquery\n")
    graphs, reader = load(tmp_path, folder, words=1000)
    word = dict(zip(("graph", "query"), word_class(np.array(["graph", "query"], object), 1000).tolist(), strict=True))
    assert word == {"graph": 243, "query": 34}  # fixed: models read words by these numbers
    assert graphs[0]["node"]["word"] == [0, 0, 0, 0, 0, 0, word["graph"], 0]
    assert graphs[4]["node"]["word"] == [0, 0, word["query"]]
    assert [feature.size for feature in reader.manifest.schema.node] == [4, 1000]
    (tmp_path / "other").mkdir()
    other = tables(tmp_path / "other", term="t1\tQUERY\n", paper_term="p1\tt1\np1\tt2\n")
    assert load(tmp_path, other, words=1000)[0][0]["node"]["word"][-3:] == [word["query"], 0, 0]
    assert set(word_class(np.array([f"w{number}" for number in range(200)], object), 4).tolist()) == {1, 2, 3}


@pytest.mark.parametrize(("changes", "message"), [
    ({"term": None}, r"term.txt: no such input file"),
    ({"term": "graph\tt1\nquery\tt2\n"}, r"term.txt: none of the terms of paper_term.txt is in its first column"),
    ({"term": "t1\tgraph\nt1\tquery\n"}, r"term.txt: 't1' is in the first column twice"),
])  # fmt: skip
def test_invalid_words_are_rejected(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        load(tmp_path, tables(tmp_path, **changes), words=8)


@pytest.mark.parametrize(("changes", "message"), [
    ({"paper_term": None}, r"paper_term.txt: no such input file"),
    ({"paper_author": "p1\n"}, r"paper_author.txt: needs 2 tab-separated columns; its first line is 'p1'"),
    ({"paper_author": "p1\ta1\tx\n"}, r"paper_author.txt: needs 2 tab-separated columns"),
    ({"paper_author": "p1\ta1\np2\ta1\tx\n"}, r"paper_author.txt, line 2: 3 fields where line 1 has 2"),
    ({"paper_author": "p1 a1\n"}, r"paper_author.txt: needs 2 tab-separated columns"),
    ({"paper_term": "t1\tp1\n"}, r"paper_term.txt: none of its papers \(the first column\) is in paper_author.txt"),
    ({"paper_conf": "c1\tp1\nc1\tp2\n"}, r"paper_conf.txt: 'c1' is in the first column twice; are the columns swapped\?"),
    ({"conf": "c1\tKDD\nc1\tAAAI\n"}, r"conf.txt: 'c1' is in the first column twice"),
    ({"conf_label": "c1\t99999\n"}, "the area '99999' is not an integer from 0 to 9999"),
    ({"paper_author": "p1\ta1\np2\t\n"}, r"paper_author.txt, line 2: an empty field"),
    ({"conf_label": "c1\tbest\n"}, "the area 'best' is not an integer from 0 to 9999"),
])  # fmt: skip
def test_invalid_tables_are_rejected(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        load(tmp_path, tables(tmp_path, **changes))


@pytest.mark.parametrize(("options", "message"), [
    ({"papers_per_author": 0}, "papers_per_author must lie in"),
    ({"fan_out": 0}, "fan_out must lie in"),
    ({"input": ("a", "b")}, "input must be one folder"),
    ({"words": 1}, "words must be 0 or lie in 2"),
    ({"words": 8, "format": "predblp"}, "words needs format=tables"),
])  # fmt: skip
def test_invalid_configs_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        BiblioConfig(**({"input": ("a",), "out": "x"} | options))


@pytest.mark.data
def test_sizes_of_the_four_area_data_set(tmp_path: Path) -> None:
    (folder,) = real("hetero/dblp4area")
    out = str(tmp_path / "out")
    manifest = build("biblio", BiblioConfig(input=(folder,), out=out, drop_venue=True))
    assert manifest.graphs == 14_376
    reader = CorpusReader(out, labels=True)
    y = reader.load().y
    assert y is not None
    assert sorted(set(y[:, 0].tolist())) == [0, 1, 2, 3]
    assert len(set(reader.column("group"))) == 20


def record(**changes: Any) -> dict[str, Any]:
    paper = {"convert_id": 10, "n_citation": 3, "year": 2010}
    return {
        "center_id": {**paper, "cat": 5},
        "papers": [paper, {"convert_id": 11, "n_citation": 0, "year": 1995}],
        "authors": [{"convert_id": 20, "org": 4, "paper_num": 7}],
        "venue": [{"convert_id": 2260001, "sub_cat": 2}],
        "terms": [{"convert_id": 30}],
        "edges": {"10": [20, 2260001, 30], "20": [10, 11]},
    } | changes


def test_predblp_lines(tmp_path: Path) -> None:
    alone = record(papers=[], authors=[], terms=[], edges={"10": [2260001]})
    lines = [json.dumps(record()), "{broken", json.dumps(alone), json.dumps(record(edges={"10": [99]})), "", "[]"]
    path = tmp_path / "graph.json"
    path.write_text("\n".join(lines) + "\n")
    graphs, reader = load(tmp_path, str(path), format="predblp")
    assert [graph["graph_id"] for graph in graphs] == [0, 2]
    assert graphs[0]["node"]["type"] == [0, 0, 1, 2, 3]
    assert sorted(map(sorted, graphs[0]["edges"])) == [[0, 2], [0, 3], [0, 4], [1, 2]]
    assert (graphs[0]["center"], graphs[0]["y"]) == (0, {"area": 5.0})
    numbers = torch.tensor(graphs[0]["node"]["numbers"])
    expected = torch.tensor([[4.0, 1.0, 1.0], [1.0, -0.5, 1.0], [1.0, 0.0, 8.0]])
    expected[:, [0, 2]] = expected[:, [0, 2]].log()
    assert torch.allclose(numbers[:3], expected)
    assert graphs[1]["node"]["type"] == [0, 3]
    assert reader.manifest.rejected == 3
    refused = (tmp_path / "out" / "rejected-00000.tsv").read_text().splitlines()
    assert [line.split("\t")[1] for line in refused[1:]] == ["2", "4", "6"]
    assert "no field or node 99" in refused[2]
    dropped, _ = load(tmp_path, str(path), format="predblp", drop_venue=True)
    assert dropped[0]["node"]["type"] == [0, 0, 1, 2]
    assert sorted(map(sorted, dropped[0]["edges"])) == [[0, 2], [0, 3], [1, 2]]
    assert dropped[1]["edges"] == []


DEEP, BIG = "[" * 100_000, json.dumps(record()).replace('"year": 2010', '"year": 1' + "0" * 400)
PREDBLP_WRONG = {
    "deep": DEEP,
    "big number": BIG,
    "infinite id": json.dumps(record(terms=[{"convert_id": float("inf")}])),
    "broken id": json.dumps(record(terms=[{"convert_id": 1.5}])),
    "nan": json.dumps(record(authors=[{"convert_id": 20, "paper_num": float("nan")}])),
    "class": json.dumps(record(center_id={"convert_id": 10, "n_citation": 3, "year": 2010, "cat": 1.5})),
    "no table": "a\tb",
}


@pytest.mark.parametrize("case", PREDBLP_WRONG)
def test_wrong_lines_of_predblp_are_listed(case: str, tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_text(f"{json.dumps(record())}\n{PREDBLP_WRONG[case]}\n")
    graphs, reader = load(tmp_path, str(path), format="predblp")
    assert (len(graphs), reader.manifest.rejected) == (1, 1)

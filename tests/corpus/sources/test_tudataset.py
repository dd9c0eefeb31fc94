"""The tudataset builder: text tables to graphs."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from distgnn.cli import main
from distgnn.corpus.inspect import cat
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources.tudataset import TuDatasetConfig
from distgnn.errors import RequestError
from tests.helpers.corpora import build, contents, real

TABLES = {
    "A": "1, 2\n2, 1\n2, 3\n3, 2\n4, 5\n5, 4\n5, 5\n",
    "graph_indicator": "1\n1\n1\n2\n2\n",
    "graph_labels": "-1\n1\n",
    "node_labels": "7\n3\n7\n3\n3\n",
    "node_attributes": "0.5, 1\n1, 2\n2, 3\n3, 4\n4, 5\n",
    "edge_labels": "4\n4\n9\n9\n4\n4\n9\n",
    "edge_attributes": "1\n1\n2\n2\n3\n3\n4\n",
    "graph_attributes": "0.25\nnan\n",
}


def folder(tmp_path: Path, **changes: str | None) -> str:
    path = tmp_path / "SET"
    path.mkdir(exist_ok=True)
    for name, text in (TABLES | changes).items():
        if text is not None:
            (path / f"SET_{name}.txt").write_text(text)
    return str(path)


def load(tmp_path: Path, uri: str, **options: Any) -> list[dict[str, Any]]:
    out = str(tmp_path / "out")
    manifest = build("tudataset", TuDatasetConfig(input=(uri,), out=out, overwrite=True, **options))
    return list(cat(out, 0, manifest.graphs))


def test_tables_become_graphs(tmp_path: Path) -> None:
    graphs = load(tmp_path, folder(tmp_path))
    assert [graph["edges"] for graph in graphs] == [[[0, 1], [1, 2]], [[0, 1]]]
    assert [graph["node"]["label"] for graph in graphs] == [[1, 0, 1], [0, 0]]
    assert graphs[1]["node"]["attributes"] == [[3, 4], [4, 5]]
    assert graphs[0]["edge"] == {"label": [0, 1], "attributes": [[1], [2]]}
    assert [graph["y"] for graph in graphs] == [{"class": 0, "target_0": 0.25}, {"class": 1, "target_0": None}]
    schema = CorpusReader(str(tmp_path / "out")).manifest.schema
    assert (schema.node[0].meaning, schema.node[0].vocabulary) == ("codes of 3, 7", ("3", "7"))
    assert schema.edge[0].vocabulary == ("4", "9")
    assert schema.classes == {"class": ("-1", "1")}


def test_codes_of_another_corpus(tmp_path: Path) -> None:
    first = str(tmp_path / "first")
    build("tudataset", TuDatasetConfig(input=(folder(tmp_path),), out=first))
    path = folder(tmp_path, node_labels="7\n7\n7\n7\n7\n", graph_labels="1\n1\n")
    assert load(tmp_path, path)[0]["node"]["label"] == [0, 0, 0]
    graphs = load(tmp_path, path, codes_of=first)
    assert [graph["node"]["label"] for graph in graphs] == [[1, 1, 1], [1, 1]]
    assert [graph["y"]["class"] for graph in graphs] == [1, 1]
    schema, other = (CorpusReader(uri).manifest.schema for uri in (first, str(tmp_path / "out")))
    assert (schema.node, schema.edge, schema.classes) == (other.node, other.edge, other.classes)
    with pytest.raises(
        RequestError, match="table node_labels, column 0: the value 5 has no code in the corpus of codes_of"
    ):
        load(tmp_path, folder(tmp_path, node_labels="7\n3\n5\n3\n3\n"), codes_of=first)


def test_graph_numbers_without_nodes_are_rejected_rows(tmp_path: Path) -> None:
    path = folder(tmp_path, graph_indicator="1\n1\n1\n3\n3\n", graph_labels="1\n1\n1\n", graph_attributes="0\n0\n0\n")
    assert [graph["graph_id"] for graph in load(tmp_path, path)] == [0, 2]
    lines = (tmp_path / "out" / "rejected-00000.tsv").read_text().splitlines()
    assert lines[1:] == ["SET\t2\tno node has this graph number\t"]


def test_zip_equals_folder(tmp_path: Path) -> None:
    path = folder(tmp_path)
    expected = load(tmp_path, path)
    with zipfile.ZipFile(tmp_path / "SET.zip", "w") as archive:
        for file in Path(path).iterdir():
            archive.write(file, f"SET/{file.name}")
            archive.writestr(f"__MACOSX/SET/._{file.name}", "x")
    assert load(tmp_path, str(tmp_path / "SET.zip")) == expected


@pytest.mark.parametrize(("changes", "message"), [
    ({"graph_labels": "1\n"}, "table graph_labels: 1 rows where 2 belong"),
    ({"node_attributes": "1\n2\n3\nx\n5\n"}, "table node_attributes: not rows of numbers"),
    ({"node_attributes": "1\n2\n3\nnan\n5\n"}, "table node_attributes, row 4: NaN"),
    ({"graph_indicator": "1\n2\n1\n2\n2\n"}, "graph numbers must start at 1 and never fall"),
    ({"graph_indicator": "1\n1\n2\n2\n2\n"}, "an edge joins two graphs"),
    ({"node_attributes": "1, 2\n1, 2\n3\n1, 2\n1, 2\n"}, "table node_attributes, row 3: rows have unequal lengths"),
    ({"graph_attributes": "1, 2\n1\n"}, "table graph_attributes, row 2: rows have unequal lengths"),
    ({"graph_labels": "1\n2.25\n"}, "table graph_labels, row 2: not a whole number"),
    ({"A": "1.5, 2\n"}, "table A, row 1: not a whole number"),
    ({"graph_attributes": "1\ninf\n"}, "table graph_attributes, row 2: NaN or infinite"),
    ({"graph_attributes": "1\n1e39\n"}, "graph_attributes, row 1: .*too large for float32"),
    ({"node_labels": "0, 1, 5, 0\n0, 1\n0, 1\n0\n0\n"}, "table node_labels, row 2: rows have unequal lengths"),
    ({"graph_indicator": "1\n1\n1\n99999999999\n99999999999\n"}, "graph 99999999999 of at most 5"),
    ({"A": "1, 9\n"}, r"needs two node numbers a row, within 1\.\.5"),
])  # fmt: skip
def test_bad_tables(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        load(tmp_path, folder(tmp_path, **changes))


def test_bad_places(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="not one TUDataset"):
        load(tmp_path, str(tmp_path / "empty"))
    (tmp_path / "bad.zip").write_bytes(b"nothing")
    with pytest.raises(RequestError, match=r"bad.zip: damaged"):
        load(tmp_path, str(tmp_path / "bad.zip"))
    with pytest.raises(RequestError, match="no such input file"):
        load(tmp_path, str(tmp_path / "none.zip"))
    with pytest.raises(RequestError, match="must be one TUDataset"):
        TuDatasetConfig(input=("a", "b"), out="x")


def test_pyg_is_a_deprecated_alias_that_writes_the_same_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, new, old = folder(tmp_path), str(tmp_path / "new"), str(tmp_path / "old")
    build("tudataset", TuDatasetConfig(input=(path,), out=new))
    assert main(["corpus", "build", "pyg", "--input", path, "--out", old]) == 0
    written = {
        name: data for name, data in contents(Path(old)).items() if name not in ("config.json", "environment.json")
    }
    assert contents(Path(new)) == written
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["corpus", "build", "pyg", "--help"])
    assert "Deprecated alias of the kind tudataset" in capsys.readouterr().out


@pytest.mark.data
def test_mutag_equals_a_plain_reading_of_its_tables(tmp_path: Path) -> None:
    (path,) = real("tudataset/MUTAG.zip")
    graphs = load(tmp_path, path)
    with zipfile.ZipFile(path) as archive:
        pairs = [line.split(",") for line in archive.read("MUTAG/MUTAG_A.txt").decode().split("\n") if line]
        owner = archive.read("MUTAG/MUTAG_graph_indicator.txt").decode().split()
    expected: dict[int, set[tuple[int, int]]] = {}
    first = {graph: owner.index(graph) for graph in dict.fromkeys(owner)}
    for a, b in pairs:
        graph = owner[int(a) - 1]
        ends = sorted((int(a) - 1 - first[graph], int(b) - 1 - first[graph]))
        expected.setdefault(int(graph) - 1, set()).add((ends[0], ends[1]))
    assert {graph["graph_id"]: {tuple(sorted(edge)) for edge in graph["edges"]} for graph in graphs} == expected
    y = CorpusReader(str(tmp_path / "out"), labels=True).load().y
    assert y is not None
    assert set(torch.unique(y).tolist()) == {0.0, 1.0}

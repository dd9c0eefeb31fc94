"""Damaged corpora: reader and verify report one clear line and never return a wrong graph."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from shutil import copytree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.corpus.inspect import cat, stat, verify
from distgnn.corpus.manifest import Manifest
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.writer import STATE
from distgnn.errors import RequestError, WorkError
from distgnn.graph.batch import GraphBatch
from tests.helpers.corpora import edit_manifest, motifs


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    motifs(folder, graphs=150)
    return folder


@pytest.fixture
def corpus(good: Path, tmp_path: Path) -> Path:
    return Path(copytree(good, tmp_path / "corpus"))


def rewrite(corpus: Path, change: Callable[[pa.Table], pa.Table], fix_manifest: bool = True) -> None:
    """Replace the second shard by a changed table, with a manifest that agrees on bytes and hash where wanted."""
    path, manifest = corpus / "shard-00001.parquet", json.loads((corpus / "corpus.json").read_text())
    table = change(pq.read_table(path))
    pq.write_table(table, path, row_group_size=16, compression="zstd", write_page_checksum=True)
    if fix_manifest:
        manifest["shards"][1] |= {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        edit_manifest(corpus, shards=manifest["shards"])


def read_all(corpus: Path) -> None:
    for _ in CorpusReader(str(corpus), labels=True).units():
        pass


def with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), table.schema.field(name), values)


def flattened(table: pa.Table, name: str, row: int, value: float) -> pa.Table:
    """The table with the first value of a list column's row replaced."""
    column = table.column(name).combine_chunks()
    offsets, values = column.offsets.to_numpy(), column.values.to_numpy(zero_copy_only=False).copy()
    values[offsets[row]] = value
    changed = pa.ListArray.from_arrays(column.offsets, pa.array(values, column.type.value_type))
    return with_column(table, name, changed.cast(column.type))


def test_intact_corpus_has_no_problems(good: Path) -> None:
    report = verify(str(good))
    assert report.ok
    assert (report.graphs, report.units, report.shards) == (150, 10, 3)


def test_missing_shard(corpus: Path) -> None:
    (corpus / "shard-00001.parquet").unlink()
    with pytest.raises(RequestError, match=r"shard-00001.parquet: missing shard; restore it"):
        read_all(corpus)
    assert [problem.count("missing shard") for problem in verify(str(corpus)).problems] == [1]


def test_truncated_shard(corpus: Path) -> None:
    path = corpus / "shard-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RequestError, match=r"shard-00001.parquet: truncated or changed"):
        read_all(corpus)
    assert len(verify(str(corpus)).problems) == 1


@pytest.fixture(scope="module")
def before(good: Path) -> GraphBatch:
    return CorpusReader(str(good), labels=True).load()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_flipped_byte_is_detected(good: Path, before: GraphBatch, data: st.DataObject) -> None:
    path = good / "shard-00002.parquet"
    whole = path.read_bytes()
    position, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    damaged = bytearray(whole)
    damaged[position] ^= 1 << bit
    path.write_bytes(damaged)
    try:
        problems = verify(str(good)).problems
        assert problems
        assert all("shard-00002.parquet" in problem and "\n" not in problem for problem in problems)
        after = before
        with suppress(RequestError, WorkError):
            after = CorpusReader(str(good), labels=True).load()
        assert torch.equal(before.edges, after.edges)
        assert torch.equal(before.node_cat, after.node_cat)
    finally:
        path.write_bytes(whole)


def test_flipped_page_byte_fails_the_checksum(corpus: Path) -> None:
    path = corpus / "shard-00000.parquet"
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(2)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 3] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(RequestError, match=r"shard-00000.parquet, unit 1: wrong checksum, the bytes are damaged"):
        read_all(corpus)
    problems = verify(str(corpus)).problems
    assert any("sha256 differs" in problem for problem in problems)
    assert any("unit 1: wrong checksum" in problem for problem in problems)


def test_wrong_schema(corpus: Path) -> None:
    rewrite(corpus, lambda table: table.set_column(0, "graph_id", table.column(0).cast(pa.int32())))
    with pytest.raises(RequestError, match=r"shard-00001.parquet: schema differs from corpus.json \(.*graph_id"):
        read_all(corpus)


@pytest.mark.parametrize(("column", "row", "value", "message"), [
    ("src", 19, 255, r"unit 1, row 3 \(graph 83\): an edge refers to a node outside the graph"),
    ("node.color", 5, 8, r"unit 0, row 5 \(graph 69\): a node category is outside \[0, size\) for sizes \[8\]"),
])  # fmt: skip
def test_values_out_of_range(corpus: Path, column: str, row: int, value: int, message: str) -> None:
    rewrite(corpus, lambda table: flattened(table, column, row, value))
    with pytest.raises(RequestError, match=rf"shard-00001.parquet, {message}"):
        read_all(corpus)
    assert any("graph" in problem for problem in verify(str(corpus)).problems)


def test_list_of_wrong_length(corpus: Path) -> None:
    def longer(table: pa.Table) -> pa.Table:
        lists = table.column("node.color").to_pylist()
        lists[2].append(0)
        return with_column(table, "node.color", pa.array(lists, table.schema.field("node.color").type))

    rewrite(corpus, longer)
    with pytest.raises(
        RequestError, match=r"shard-00001.parquet, unit 0, row 2, field node.color: expected \d+ values, found"
    ):
        read_all(corpus)


def test_verify_detects_self_loops_and_duplicate_ids(corpus: Path) -> None:
    def loop(table: pa.Table) -> pa.Table:
        first = table.column("dst")[0].as_py()[0]
        return flattened(table, "src", 0, first)

    rewrite(corpus, loop)
    assert any("joins a node to itself" in problem for problem in verify(str(corpus)).problems)
    rewrite(corpus, lambda table: with_column(table, "graph_id", pa.array(np.zeros(len(table)), pa.uint64())))
    assert any("graph id 0 occurs more than once" in problem for problem in verify(str(corpus)).problems)


def test_verify_detects_wrong_counts_in_the_manifest(corpus: Path) -> None:
    manifest = json.loads((corpus / "corpus.json").read_text())
    manifest["shards"][1]["nodes"] += 1
    edit_manifest(corpus, shards=manifest["shards"])
    (problem,) = verify(str(corpus)).problems
    assert "shard-00001.parquet" in problem
    assert "but corpus.json records" in problem


def test_wrong_row_count_in_the_manifest_is_rejected(corpus: Path) -> None:
    rewrite(corpus, lambda table: table.slice(0, 60))
    with pytest.raises(RequestError, match=r"shard-00001.parquet: 60 rows, but corpus.json records 64"):
        read_all(corpus)


@pytest.mark.parametrize(("changes", "message"), [
    ({"version": 2}, r"written by a newer version of distgnn .format version 2, this one reads 1."),
    ({"graphs": 0, "shards": []}, "holds no graphs"),
    ({"graphs": 151}, "do not add up"),
    ({"unit_rows": "many"}, "not a corpus manifest"),
    ({"surprise": 1}, "not a corpus manifest"),
    ({"schema": {"node": []}}, "not a distgnn schema"),
])  # fmt: skip
def test_invalid_manifest_is_rejected(corpus: Path, changes: dict[str, object], message: str) -> None:
    edit_manifest(corpus, **changes)
    with pytest.raises(RequestError, match=message):
        CorpusReader(str(corpus))


@pytest.mark.parametrize("name", ["../shard-00000.parquet", "/etc/passwd", "a/../../b", "..\\b"])
def test_path_traversal_is_rejected(corpus: Path, name: str) -> None:
    manifest = json.loads((corpus / "corpus.json").read_text())
    manifest["shards"][0]["name"] = name
    edit_manifest(corpus, shards=manifest["shards"])
    with pytest.raises(RequestError, match="does not stay inside its folder"):
        read_all(corpus)
    with pytest.raises(RequestError, match="does not stay inside its folder"):
        verify(str(corpus))


def test_missing_corpus_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no corpus here"):
        CorpusReader(str(tmp_path / "nowhere"))
    (tmp_path / STATE).write_text("{}")
    with pytest.raises(RequestError, match="it holds an unfinished build"):
        CorpusReader(str(tmp_path))
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(RequestError, match="not a corpus manifest"):
        CorpusReader(str(tmp_path))


def test_unknown_column_is_rejected(good: Path) -> None:
    with pytest.raises(RequestError, match="the corpus has no 'split' column"):
        CorpusReader(str(good)).column("split")


def test_stat(good: Path) -> None:
    facts = stat(str(good))
    json.dumps(facts)
    assert facts["graphs"] == 150
    assert sum(facts["nodes"]["histogram"].values()) == 150
    graphs = CorpusReader(str(good), labels=True).load()
    assert facts["nodes"] == {**facts["nodes"], "total": graphs.num_nodes, "mean": round(graphs.num_nodes / 150, 2)}
    sizes = graphs.node_ptr.diff()
    assert facts["nodes"]["histogram"]["16-31"] == int(((sizes >= 16) & (sizes < 32)).sum())
    assert graphs.y is not None
    assert facts["labels"]["clique"]["positive"] == int(graphs.y[:, 3].sum())
    assert sum(facts["labels"]["clique"].values()) == 150
    assert facts["groups"]["name"] == "size"
    assert len(facts["groups"]["top"]) == 10
    assert facts["split"] is None
    assert [feature["name"] for feature in facts["node_features"]] == ["color"]


def test_cat(good: Path) -> None:
    graphs = CorpusReader(str(good), labels=True).load()
    rows = list(cat(str(good), 14, 5))
    assert [row["graph_id"] for row in rows] == [14, 15, 16, 17, 18]
    json.dumps(rows)
    low, high = int(graphs.edge_ptr[17]), int(graphs.edge_ptr[18])
    assert rows[3]["edges"] == (graphs.edges[:, low:high] - graphs.node_ptr[17]).T.tolist()
    assert rows[3]["node"]["color"] == graphs.node_cat[int(graphs.node_ptr[17]) : int(graphs.node_ptr[18]), 0].tolist()
    assert set(rows[0]["y"]) == {"square", "hexagon", "house", "clique", "wheel"}
    assert rows[0]["group"].isdigit()
    assert len(list(cat(str(good), 148, 9))) == 2
    with pytest.raises(RequestError, match="outside the corpus of 150 graphs"):
        cat(str(good), 150)


def test_manifest_round_trip(good: Path) -> None:
    raw = (good / "corpus.json").read_bytes()
    manifest = Manifest.from_bytes(raw, "x")
    assert manifest.to_bytes() == raw
    assert manifest.locate(5) == (1, 1)

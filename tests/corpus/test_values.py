"""Values of labels, splits and units that do not fit are refused when a corpus is written, verified and read."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from distgnn.corpus.inspect import verify
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.shard import Piece, check_values, pack
from distgnn.errors import RequestError
from distgnn.finetuning.inputs import input_batches
from distgnn.graph.batch import GraphBatch
from distgnn.graph.ragged import packed, pointers
from distgnn.graph.schema import Feature, Schema
from tests.helpers.corpora import edit_manifest, motifs

SCHEMA = Schema(labels=("a",), split=True)


def piece(y: Any, split: Any = 0) -> Piece:
    counts = pointers([1] * len(y))
    return Piece(packed(np.arange(len(y)), counts, counts * 0, np.zeros((2, 0)), y=np.array(y)), split=[split] * len(y))


def test_labels_have_the_width_of_the_schema() -> None:
    assert pack(SCHEMA, piece([[1.0], [2.0]])).column("y").to_pylist() == [[1], [2]]
    with pytest.raises(RequestError, match=r"y: expected shape \[2, 1\], found \[2, 3\]"):
        pack(SCHEMA, piece([[10.0, 11, 12], [20, 21, 22]]))


@pytest.mark.parametrize(("center", "row"), [([0, 2], 1), ([2, 0], 0), ([-1, 0], 0), ([0, -2], 1)])
def test_centre_outside_its_graph_is_refused(center: list[int], row: int) -> None:
    """Node 2 of the first graph is node 0 of the second, and the other way round."""
    nodes, edges = pointers([2, 2]), pointers([0, 0])

    def graphs(center: list[int]) -> GraphBatch:
        return packed([7, 8], nodes, edges, np.zeros((2, 0)), center=np.array(center))

    check_values(Schema(center=True), graphs([1, 0]), "x")
    with pytest.raises(RequestError, match=rf"^x, row {row} \(graph {7 + row}\): the centre node is outside the graph"):
        check_values(Schema(center=True), graphs(center), "x")


@pytest.mark.parametrize("split", [3, -1, 1.5, "train"])
def test_splits_are_0_1_2_or_unknown(split: Any) -> None:
    assert pack(SCHEMA, piece([[1.0]], None)).column("split").to_pylist() == [None]
    mixed = replace(piece([[1.0]] * 5), split=[0, 1, split, 2, None])
    with pytest.raises(RequestError, match=rf"split: {split!r} is not 0, 1, 2 or None"):
        pack(SCHEMA, mixed)


def rewritten(folder: Path, change: Any, row_groups: list[int]) -> str:
    """Replace the only shard by a changed table in row groups of other sizes, with a manifest that agrees."""
    path = folder / "shard-00000.parquet"
    table, start = change(pq.read_table(path)), 0
    with pq.ParquetWriter(path, table.schema) as writer:
        for rows in row_groups:
            writer.write_table(table.slice(start, rows), row_group_size=rows)
            start += rows
    data = path.read_bytes()
    entry = json.loads((folder / "corpus.json").read_text())["shards"][0]
    edit_manifest(folder, shards=[entry | {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}])
    return str(folder)


def test_infinite_labels_are_no_labels(tmp_path: Path) -> None:
    motifs(tmp_path, graphs=32, unit_rows=16, shard_rows=64)

    def infinite(table: pa.Table) -> pa.Table:
        y = np.array(table.column("y").to_pylist(), np.float32)
        y[20, 0] = math.inf
        field = table.schema.get_field_index("y")
        return table.set_column(field, table.schema.field(field), pa.array(list(y), pa.list_(pa.float32())))

    uri = rewritten(tmp_path, infinite, [16, 16])
    assert any("unit 1, row 4 (graph 20): a label is infinite" in problem for problem in verify(uri).problems)
    with pytest.raises(RequestError, match="unit 1, field y: a label is infinite"):
        CorpusReader(uri).labels()


def test_units_have_the_rows_of_the_manifest(tmp_path: Path) -> None:
    motifs(tmp_path, graphs=32, unit_rows=16, shard_rows=64)
    uri = rewritten(tmp_path, lambda table: table, [31, 1])
    for number in range(2):
        with pytest.raises(RequestError, match=r"unit 0: 31 rows where 16 belong|unit 1: 1 rows where 16 belong"):
            CorpusReader(uri).unit(number)
    assert any("31 rows where 16 belong" in problem for problem in verify(uri).problems)


GRAPHS = [
    Data(x=torch.full((2, 1), n % 3), edge_index=torch.tensor([[0, 1], [1, 0]]), y=torch.ones(n)) for n in range(7)
]


@pytest.mark.parametrize("graphs", [
    GRAPHS,
    DataLoader(GRAPHS, batch_size=2),
    [Batch.from_data_list(GRAPHS[:3]), *GRAPHS[3:]],
])  # fmt: skip
def test_batches_to_predict_are_taken_apart(graphs: Any) -> None:
    schema = Schema(node=(Feature("k", "categorical", 3),), labels=("a",), group="g", split=True)
    batches = list(input_batches(graphs, schema))
    assert torch.cat([batch.graph_id for batch in batches]).tolist() == list(range(7))
    assert torch.cat([batch.node_cat[::2, 0] for batch in batches]).tolist() == [n % 3 for n in range(7)]
    assert sum(batch.num_edges for batch in batches) == 14
    with pytest.raises(RequestError, match=r"graph 1: data.x: expected a dense tensor"):
        list(input_batches([GRAPHS[0], Data(x=[0], edge_index=torch.zeros(2, 0, dtype=torch.long))], schema))


def test_names_of_labels_are_counted_once_not_once_for_each() -> None:
    names = Names(f"l{i}" for i in range(5000))
    assert replace(SCHEMA, labels=names).labels == names
    assert names.passes < 20


class Names(tuple[str, ...]):
    """Labels that count how often all of them are gone through."""

    passes = 0

    def __iter__(self) -> Any:
        type(self).passes += 1
        return super().__iter__()

    def count(self, value: Any, /) -> int:
        type(self).passes += 1
        return super().count(value)

"""Conversion of PyG graphs to and from corpora."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.loader import DataLoader

from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources.pyg import collect, write_corpus
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch
from distgnn.graph.pyg import from_pyg, to_pyg
from distgnn.graph.schema import Feature, Schema

SCHEMA = Schema(
    (Feature("kind", "categorical", 5), Feature("weight", "dense", 2)),
    (Feature("bond", "categorical", 3), Feature("length", "dense", 1)),
    labels=("a", "b"),
    center=True,
    group="family",
    split=True,
)
FIELDS = (
    "graph_id",
    "node_ptr",
    "edge_ptr",
    "edges",
    "node_cat",
    "node_dense",
    "edge_cat",
    "edge_dense",
    "center",
    "y",
)


def same(one: GraphBatch, two: GraphBatch) -> None:
    for name in FIELDS:
        a, b = (torch.nan_to_num(getattr(batch, name).double(), -7.0) for batch in (one, two))
        assert torch.equal(a, b), name


def ring(number: int, nodes: int) -> Data:
    generator = torch.Generator().manual_seed(number)
    src = torch.arange(nodes - 1)
    kinds, lengths = (
        torch.randint(3, (nodes - 1, 1), generator=generator),
        torch.rand(nodes - 1, 1, generator=generator),
    )
    return Data(
        x=torch.randint(5, (nodes, 1), generator=generator),
        x_dense=torch.rand(nodes, 2, generator=generator),
        edge_index=torch.stack([torch.cat([src, src + 1]), torch.cat([src + 1, src])]),
        edge_attr=torch.cat([kinds, kinds]),
        edge_attr_dense=torch.cat([lengths, lengths]),
        center_index=torch.randint(nodes, (1,), generator=generator),
        y=torch.tensor([[float(number), float("nan")]]),
        group=f"g{number % 3}",
        split=number % 3,
    )


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_round_trip_through_pyg(sizes: list[int]) -> None:
    batch = collect([ring(number, nodes) for number, nodes in enumerate(sizes)], SCHEMA).graphs
    out = to_pyg(batch)
    assert out.center_index.tolist() == batch.center.tolist()  # type: ignore[union-attr]
    same(collect(out.to_data_list(), _plain(SCHEMA)).graphs, batch)
    twice = from_pyg(out, SCHEMA)
    assert twice.directed
    assert twice.num_edges == 2 * batch.num_edges
    same(from_pyg(to_pyg(twice), SCHEMA), twice)


def _plain(schema: Schema) -> Schema:
    return Schema(schema.node, schema.edge, schema.labels, schema.center)


def test_write_corpus_from_a_generator(tmp_path: Path) -> None:
    def graphs() -> Iterator[Data]:
        return (ring(number, 2 + number % 5) for number in range(1200))

    manifest = write_corpus(graphs(), str(tmp_path), SCHEMA, unit_rows=50, shard_rows=100)
    assert (manifest.graphs, len(manifest.shards)) == (1200, 12)
    reader = CorpusReader(str(tmp_path), labels=True)
    same(reader.load(), collect(list(graphs()), SCHEMA).graphs)
    assert reader.column("group").tolist()[:4] == ["g0", "g1", "g2", "g0"]
    assert reader.column("split").tolist()[:4] == [0, 1, 2, 0]


def test_unfinished_build_is_restarted(tmp_path: Path) -> None:
    def broken() -> Iterator[Data]:
        yield from (ring(number, 3) for number in range(600))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_corpus(broken(), str(tmp_path), SCHEMA, unit_rows=10, shard_rows=100)
    manifest = write_corpus(
        [ring(number, 4) for number in range(700)], str(tmp_path), SCHEMA, unit_rows=10, shard_rows=100
    )
    assert manifest.graphs == 700
    assert CorpusReader(str(tmp_path)).load().num_nodes == 2800


def test_graph_ids_are_preserved() -> None:
    graphs = [ring(number, 3) for number in range(3)]
    assert collect(graphs, SCHEMA, first=10).graphs.graph_id.tolist() == [10, 11, 12]
    for number, graph in enumerate(graphs):
        graph.graph_id = torch.tensor([100 - number])
    assert collect(graphs, SCHEMA).graphs.graph_id.tolist() == [100, 99, 98]


def test_directed_corpora_keep_every_direction() -> None:
    schema = Schema(directed=True)
    graphs = [Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3)] * 2
    batch = collect(graphs, schema).graphs
    assert batch.directed
    assert batch.edges.tolist() == [[0, 1, 2, 3, 4, 5], [1, 2, 0, 4, 5, 3]]
    with pytest.raises(RequestError, match="graph 0, edge_index: an edge has no reverse edge"):
        collect(graphs, Schema())


def change(**values: object) -> list[Data]:
    graphs = [ring(number, 4) for number in range(3)]
    for name, value in values.items():
        graphs[1][name] = value
    return graphs


FORTH, BACK = [0, 1, 2], [1, 2, 3]


@pytest.mark.parametrize(("values", "message"), [
    ({"edge_index": torch.tensor([[0, 1, 2, 1, 2, 3], [0, 2, 3, 0, 1, 2]])}, r"graph 11, edge_index: a self-loop"),
    ({"edge_index": torch.tensor([FORTH + FORTH, BACK + BACK])}, "graph 11, edge_index: an edge has no reverse edge"),
    ({"edge_attr": torch.tensor([[0], [0], [0], [0], [0], [1]])}, "graph 11, edge_index: the two directions"),
    ({"edge_index": torch.tensor([[0, 1, 2, 1, 2, 9], [1, 2, 3, 0, 1, 2]])}, "edge_index: a node id is outside|reverse"),
    ({"x": torch.full((4, 1), 5)}, "data.x: the category 5 is outside"),
    ({"x": torch.zeros(4, 2, dtype=torch.int64)}, "graph 11: data.x: the schema has 1 categorical"),
    ({"y": torch.zeros(1, 3)}, "graph 11: data.y has 3 values, but the schema has 2 labels"),
])  # fmt: skip
def test_graphs_that_do_not_match_the_schema_are_rejected(values: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        collect(change(**values), SCHEMA, first=10)


@pytest.mark.parametrize(("name", "message"), [
    ("y", "data.y is missing, but the schema has 2 labels; unknown ones are NaN"),
    ("center_index", "data.center_index is missing"),
    ("group", "the schema has 'group', but data.group is missing"),
    ("x_dense", "expected|found|the schema has"),
])  # fmt: skip
def test_attributes_of_the_schema_are_required(name: str, message: str) -> None:
    graphs = [ring(number, 4) for number in range(3)]
    for graph in graphs:
        del graph[name]
    with pytest.raises(RequestError, match=message):
        collect(graphs, SCHEMA)


def test_center_survives_batching() -> None:
    batch = Batch.from_data_list([ring(number, 4) for number in range(5)])  # type: ignore[arg-type]
    centers = from_pyg(batch, SCHEMA).center  # type: ignore[arg-type]
    assert centers is not None
    assert ((centers // 4) == torch.arange(5)).all()


LABELLED = Schema(node=(Feature("k", "categorical", 2),), labels=("active",))
EDGES = torch.tensor([[0, 1], [1, 0]])


def pair(**values: object) -> Data:
    return Data(**{"x": torch.zeros(2, 1, dtype=torch.long), "edge_index": EDGES, "y": torch.ones(1)} | values)


@pytest.mark.parametrize("wrapped", [
    lambda graphs: DataLoader(graphs, batch_size=32),
    lambda graphs: Batch.from_data_list(graphs),
    lambda graphs: [Batch.from_data_list(graphs[:10]), graphs[10], graphs[11:]],
    lambda graphs: iter(graphs),
])  # fmt: skip
def test_batches_are_taken_apart(tmp_path: Path, wrapped: Callable[[list[Data]], Any]) -> None:
    graphs = [ring(number, 2 + number % 3) for number in range(70)]
    assert write_corpus(wrapped(graphs), str(tmp_path), SCHEMA).graphs == 70
    same(CorpusReader(str(tmp_path), labels=True).load(), collect(graphs, SCHEMA).graphs)


@pytest.mark.parametrize(("graphs", "message"), [
    (pair(), "expected an iterable of PyG Data, found one Data; pass a list"),
    ([pair(), HeteroData()], "graphs, element 1: expected PyG Data or Batch, found HeteroData"),
    (["C"], "graphs, element 0: expected PyG Data or Batch, found str"),
    ([pair(ptr=torch.tensor([0, 1, 2]))], "element 0: .* found a joined batch without its parts"),
])  # fmt: skip
def test_other_things_than_graphs_are_refused(tmp_path: Path, graphs: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        write_corpus(graphs, str(tmp_path), LABELLED)


DENSE = Schema(node=(Feature("v", "dense", 1),), edge=(Feature("w", "dense", 1),), group="g", split=True)


@pytest.mark.parametrize(("schema", "values", "message"), [
    (LABELLED, {"y": torch.ones(2)}, "data.y has 2 values, but the schema has 1 labels"),
    (LABELLED, {"y": torch.ones(0)}, "data.y has 0 values"),
    (LABELLED, {"y": None}, "data.y is missing"),
    (LABELLED, {"y": "active"}, "data.y: expected a tensor of 1 labels, found str"),
    (LABELLED, {"y": ["active"]}, "data.y: expected numbers"),
    (LABELLED, {"y": torch.tensor([float("inf")])}, "data.y, row 0: inf is infinite"),
    (LABELLED, {"y": torch.tensor([1e39], dtype=torch.float64)}, "too large for float32"),
    (LABELLED, {"y": torch.tensor([1j])}, "data.y: expected numbers, found complex64"),
    (LABELLED, {"x": np.zeros((2, 1))}, "data.x: expected a dense tensor of numbers, found ndarray; torch.as_tensor makes one"),
    (LABELLED, {"x": torch.full((2, 1), 0.5)}, "non-integer values"),
    (LABELLED, {"x": torch.full((2, 1), 2**32)}, r"the category 4294967296 is outside \[0, size\) for sizes \[2\]"),
    (LABELLED, {"x": torch.tensor([[0], [-1]])}, "the category -1 is outside"),
    (LABELLED, {"num_nodes": "two"}, "data.num_nodes: expected a whole number, found 'two'"),
    (LABELLED, {"num_nodes": 9}, r"data.x: expected 9 rows, found shape \[2, 1\]"),
    (LABELLED, {"edge_index": torch.tensor([])}, r"data.edge_index: expected whole numbers of shape \[2, E\], found float32 \[0\]"),
    (LABELLED, {"edge_index": EDGES.float()}, "data.edge_index: expected whole numbers"),
    (LABELLED, {"edge_index": None}, "data.edge_index"),
    (LABELLED, {"x": None}, "data.num_nodes: missing"),
    (LABELLED, {"graph_id": torch.tensor([1, 2])}, "data.graph_id: expected one whole number"),
    (LABELLED, {"graph_id": torch.tensor([0.5])}, "data.graph_id: expected one whole number"),
    (DENSE, {"edge_attr": torch.tensor([[0], [float("nan")]])}, "a dense feature of edge 1 is NaN, infinite or"),
    (DENSE, {"edge_attr": None}, r"found 0 and 0 \(data.edge_attr is missing\)"),
    (DENSE, {"edge_attr": torch.ones(3, 1)}, "data.edge_attr: expected 2 rows"),
    (DENSE, {"split": 5}, "data.split: '5' is not a valid split"),
    (DENSE, {"split": 1.5}, "data.split: '1.5' is not a valid split"),
    (DENSE, {"group": 3}, "data.group: expected text or None, found int"),
])  # fmt: skip
def test_each_attribute_is_checked_and_named(schema: Schema, values: dict[str, Any], message: str) -> None:
    rest = (
        {} if schema is LABELLED else {"x": torch.ones(2, 1), "edge_attr": torch.ones(2, 1), "group": "a", "split": 0}
    )
    with pytest.raises(RequestError, match=f"^graph 11: .*{message}"):
        collect([pair(**rest), pair(**rest | values)], schema, first=10)


def test_gradients_text_splits_and_int32_are_read() -> None:
    grad = torch.ones(2, 1, requires_grad=True)
    rest = {"x": grad, "edge_attr": torch.ones(2, 1), "group": "a", "edge_index": EDGES.int(), "smiles": "C"}
    piece = collect([pair(**rest, split=split) for split in ("train", "VALID", torch.tensor(2), "")], DENSE)
    assert piece.split == [0, 1, 2, None]
    assert piece.graphs.edges.dtype == torch.int64
    assert not piece.graphs.node_dense.requires_grad
    assert collect([pair(y=3), pair(y=torch.tensor([[4]]))], LABELLED).graphs.y.tolist() == [[3], [4]]  # type: ignore[union-attr]


def test_many_small_int32_edges_do_not_overflow(tmp_path: Path) -> None:
    a = torch.arange(200)
    b = (a + 1) % 200
    edges = torch.stack([torch.cat([a, b]), torch.cat([b, a])]).int()
    graph = Data(x=torch.zeros(200, 1, dtype=torch.long), edge_index=edges)
    manifest = write_corpus([graph] * 512, str(tmp_path), Schema(node=(Feature("k", "categorical", 2),)))
    assert (manifest.graphs, manifest.shards[0].edges) == (512, 512 * 200)


@pytest.mark.parametrize("y", [1, 1.0, [1.0], np.ones(1), torch.ones(1, 1), torch.tensor(True)])
def test_labels_of_any_numbers(tmp_path: Path, y: Any) -> None:
    write_corpus([pair(y=y)], tmp_path / "corpus", LABELLED)
    labels = CorpusReader(str(tmp_path / "corpus")).labels()
    assert labels.tolist() == [[1.0]]


def test_rows_of_units_and_shards_must_fit(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="multiple of unit_rows=100; give shard_rows=65500 too"):
        write_corpus([pair()], tmp_path / "corpus", LABELLED, unit_rows=100)
    with pytest.raises(RequestError, match="unit_rows must be at least 1, or 0 to choose it, found -1"):
        write_corpus([pair()], tmp_path / "corpus", LABELLED, unit_rows=-1)


def test_a_schema_takes_lists_and_no_single_values() -> None:
    assert Schema(node=[Feature("k", "categorical", 2)], labels=["active"]) == LABELLED  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=r"schema: labels must be a tuple, found 'active'; write \('active',\)"):
        Schema(labels="active")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="schema: node must be a tuple"):
        Schema(node=Feature("k", "categorical", 2))  # type: ignore[arg-type]

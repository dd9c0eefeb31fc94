"""Conversion of PyG graphs to and from corpora."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

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
    ({"x": torch.full((4, 1), 5)}, "data.x: a category is outside"),
    ({"x": torch.zeros(4, 2, dtype=torch.int64)}, "do not all have the same attributes"),
    ({"y": torch.zeros(1, 3)}, "do not all have the same attributes"),
])  # fmt: skip
def test_graphs_that_do_not_match_the_schema_are_rejected(values: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        collect(change(**values), SCHEMA, first=10)


@pytest.mark.parametrize(("name", "message"), [
    ("y", "data.y has 0 values, but the schema has 2"),
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

"""Packed graphs as PyG batches, compared with what PyG itself makes of single graphs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch_geometric.data import Batch, Data

from distgnn.graph.batch import GraphBatch, slice_graphs
from distgnn.graph.pyg import to_pyg
from distgnn.graph.schema import Feature, Schema
from tests.helpers.graphs import BARE, MOLECULE, random_graphs

DENSE = Schema(node=(Feature("position", "dense", 3),), edge=(Feature("length", "dense", 1),), directed=True)
CENTRED = Schema(node=MOLECULE.node, edge=MOLECULE.edge, center=True)


def one(graph: GraphBatch) -> Data:
    """One graph as Data, by slow obvious code."""
    edges = graph.edges if graph.directed else torch.cat([graph.edges, graph.edges.flip(0)], dim=1)
    copies = 1 if graph.directed else 2
    fields = {"graph_id": graph.graph_id, "center_index": graph.center, "y": graph.y}
    for cat, dense, name, repeat in (
        (graph.node_cat, graph.node_dense, "x", 1),
        (graph.edge_cat, graph.edge_dense, "edge_attr", copies),
    ):
        if cat.shape[1]:
            fields[name] = cat.long().repeat(repeat, 1)
        if dense.shape[1]:
            fields[f"{name}_dense" if cat.shape[1] else name] = dense.repeat(repeat, 1)
    present = {name: value for name, value in fields.items() if value is not None}
    return Data(edge_index=edges, num_nodes=graph.num_nodes, **present)


def assert_same(found: Data, expected: Data) -> None:
    assert set(found.keys()) == set(expected.keys())
    for name in expected.keys():  # noqa: SIM118 - Data iterates over pairs
        value = expected[name]
        if isinstance(value, torch.Tensor):
            assert found[name].dtype == value.dtype, name
            assert torch.equal(found[name], value), name
        else:
            assert found[name] == value, name


@pytest.mark.parametrize("schema", [MOLECULE, BARE, DENSE, CENTRED], ids=["molecule", "bare", "dense", "centred"])
@pytest.mark.parametrize("labels", [0, 2])
@pytest.mark.parametrize("sizes", [[4, 1, 6, 5], [3], [1, 1]], ids=str)
def test_equals_from_data_list(schema: Schema, labels: int, sizes: list[int]) -> None:
    y = torch.arange(2.0 * len(sizes)).view(len(sizes), 2) if labels else None
    graphs = replace(random_graphs(sizes, schema), directed=schema.directed, y=y)
    singles = [one(slice_graphs(graphs, g, g + 1)) for g in range(len(sizes))]
    found, expected = to_pyg(graphs), Batch.from_data_list(singles)
    assert type(found) is type(expected)
    assert_same(found, expected)
    assert found.num_graphs == len(sizes)
    for a, b in zip(found.to_data_list(), singles, strict=True):
        assert_same(a, b)
    assert_same(Batch.from_data_list(found.to_data_list()), expected)

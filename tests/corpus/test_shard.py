"""Conversion between Arrow tables and graphs: types, columns, and rows named by errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from distgnn.corpus.shard import Piece, arrow_schema, check_structure, check_values, pack, unpack
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch
from distgnn.graph.ragged import packed, pointers
from distgnn.graph.schema import Feature, Schema

WHOLE = Schema(
    node=(Feature("a", "categorical", 300), Feature("d", "dense", 2), Feature("b", "categorical", 3)),
    edge=(Feature("k", "categorical", 2), Feature("w", "dense", 1)),
    labels=("x", "y"),
    center=True,
    group="g",
    split=True,
)


def graphs(**changes: Any) -> GraphBatch:
    """Graphs 7, 8 and 9 of 2, 1 and 3 nodes: one edge, none, and two."""
    arrays: dict[str, Any] = {
        "edges": np.array([[0, 0, 2], [1, 1, 1]]),
        "node_cat": np.array([[0, 0], [299, 2], [1, 1], [2, 0], [3, 1], [4, 2]]),
        "node_dense": np.arange(12.0).reshape(6, 2),
        "edge_cat": np.array([[0], [1], [0]]),
        "edge_dense": np.array([[0.5], [1.5], [2.5]]),
        "center": np.array([1, 0, 2]),
        "y": np.array([[0, 1], [np.nan, 2], [3, np.nan]]),
    }
    return packed([7, 8, 9], pointers([2, 1, 3]), pointers([1, 0, 2]), **(arrays | changes))


def test_round_trip() -> None:
    table = pack(WHOLE, Piece(graphs(), group=["a", None, "b"], split=[0, None, 2]))
    assert table.schema == arrow_schema(WHOLE)
    assert [field.name for field in table.schema if field.nullable] == ["center", "y", "group", "split"]
    assert table.to_pylist()[2] == {
        "graph_id": 9, "num_nodes": 3, "src": [0, 2], "dst": [1, 1], "node.a": [2, 3, 4], "node.b": [0, 1, 2],
        "node.d": [6, 7, 8, 9, 10, 11], "edge.k": [1, 0], "edge.w": [1.5, 2.5], "center": 2,
        "y": pytest.approx([3, np.nan], nan_ok=True), "group": "b", "split": 2,
    }  # fmt: skip
    assert table.column("node.a").type == pa.list_(pa.uint16())
    found = unpack(WHOLE, table, "here")
    check_values(WHOLE, found, "here")
    check_structure(WHOLE, found, "here")
    for name, value in vars(graphs()).items():
        if isinstance(value, torch.Tensor):
            assert getattr(found, name).dtype == value.dtype, name
            np.testing.assert_array_equal(getattr(found, name), value)  # NaN equals NaN
    assert unpack(WHOLE, table.drop_columns(["y"]), "here").y is None


@pytest.mark.parametrize(
    ("most", "kind"), [(256, pa.uint8()), (257, pa.uint16()), (65_536, pa.uint16()), (65_537, pa.uint32())]
)
def test_widths_of_ids(most: int, kind: pa.DataType) -> None:
    schema = arrow_schema(Schema((Feature("a", "categorical", most),), max_nodes=most))
    assert [schema.field(name).type.value_type for name in ("src", "dst", "node.a")] == [kind] * 3


@pytest.mark.parametrize(("changes", "said"), [
    ({"edges": np.array([[0, -1, 2], [1, 1, 1]])}, r"row 2 \(graph 9\): an edge refers to a node outside"),
    ({"edges": np.array([[0, 0, 2], [2, 1, 1]])}, r"row 0 \(graph 7\): an edge refers to a node outside"),
    ({"edges": np.array([[0, 0, 3], [1, 1, 1]])}, r"row 2 \(graph 9\): an edge refers to a node outside"),
    ({"node_cat": np.array([[0, 0], [1, 2], [1, 3], [2, 0], [3, 1], [4, 2]])},
     r"row 1 \(graph 8\): a node category is outside \[0, size\) for sizes \[300, 3\]"),
    ({"node_cat": np.array([[0, 0], [1, 2], [1, 1], [2, 0], [3, 1], [300, 2]])}, r"row 2 \(graph 9\): a node category"),
    ({"edge_cat": np.array([[0], [1], [2]])}, r"row 2 \(graph 9\): a edge category is outside"),
])  # fmt: skip
def test_values_out_of_range_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=f"^here, {said}"):
        check_values(WHOLE, graphs(**changes), "here")


@pytest.mark.parametrize(("field", "place", "value", "said"), [
    ("node_cat", (2, 1), -1, r"row 1 \(graph 8\): a node category"),
    ("node_dense", (5, 1), np.nan, r"row 2 \(graph 9\): a node feature is NaN or infinite"),
    ("edge_dense", (1, 0), -np.inf, r"row 2 \(graph 9\): a edge feature is NaN or infinite"),
    ("y", (1, 1), np.inf, r"row 1 \(graph 8\): a label is infinite"),
    ("y", (2, 0), -np.inf, r"row 2 \(graph 9\): a label is infinite"),
])  # fmt: skip
def test_invalid_values_are_refused(field: str, place: tuple[int, int], value: float, said: str) -> None:
    batch = graphs()
    getattr(batch, field)[place] = value
    with pytest.raises(RequestError, match=f"^here, {said}"):
        check_values(WHOLE, batch, "here")


@pytest.mark.parametrize(("edges", "said"), [
    ([[0, 0, 2], [1, 1, 2]], r"row 2 \(graph 9\): an edge joins a node to itself"),
    ([[0, 2, 1], [1, 1, 2]], r"row 2 \(graph 9\): an undirected edge is stored twice"),
    ([[0, 1, 1], [1, 2, 2]], r"row 2 \(graph 9\): an undirected edge is stored twice"),
])  # fmt: skip
def test_structure(edges: list[list[int]], said: str) -> None:
    schema, batch = replace(WHOLE, max_nodes=3), graphs(edges=np.array(edges))
    with pytest.raises(RequestError, match=f"^here, {said}"):
        check_structure(schema, batch, "here")
    check_structure(replace(schema, directed=True), batch, "here")
    check_structure(schema, graphs(), "here")
    with pytest.raises(RequestError, match=r"^here, row 2 \(graph 9\): more than max_nodes=2 nodes"):
        check_structure(replace(WHOLE, max_nodes=2, directed=True), graphs(), "here")
    empty = packed([4, 5], pointers([1, 0]), pointers([0, 0]), np.zeros((2, 0)))
    with pytest.raises(RequestError, match=r"^here, row 1 \(graph 5\): the graph has no nodes"):
        check_structure(schema, empty, "here")


def changed(name: str, row: int, value: Any) -> pa.Table:
    table = pack(WHOLE, Piece(graphs(), group=["a", None, "b"], split=[0, None, 2]))
    values, place = table.column(name).to_pylist(), table.schema.get_field_index(name)
    values[row] = value
    return table.set_column(
        place, table.schema.field(name).with_nullable(True), pa.array(values, table.schema.field(name).type)
    )


@pytest.mark.parametrize(("name", "row", "value", "said"), [
    ("dst", 2, [1], "row 2, field dst: expected 2 values, found 1"),
    ("node.a", 1, [1, 2], "row 1, field node.a: expected 1 values, found 2"),
    ("node.d", 0, [1.0, 2.0, 3.0], "row 0, field node.d: expected 4 values, found 3"),
    ("edge.k", 1, None, "row 1, field edge.k: expected 0 values"),
    ("y", 1, [1.0], "row 1, field y: expected 2 values, found 1"),
    ("y", 2, None, "row 2, field y: expected 2 values"),
    ("center", 1, None, "field center: a graph has no centre, but the schema requires one"),
])  # fmt: skip
def test_wrong_list_lengths_are_refused(name: str, row: int, value: Any, said: str) -> None:
    with pytest.raises(RequestError, match=f"^here, {said}"):
        unpack(WHOLE, changed(name, row, value), "here")


def test_missing_columns_are_refused() -> None:
    for name, made in (
        ("center", Piece(replace(graphs(), center=None), ["a"] * 3, [0] * 3)),
        ("y", Piece(replace(graphs(), y=None), ["a"] * 3, [0] * 3)),
        ("group", Piece(graphs(), None, [0] * 3)),
        ("split", Piece(graphs(), ["a"] * 3)),
    ):
        with pytest.raises(RequestError, match=f"the schema has '{name}', but the graphs do not"):
            pack(WHOLE, made)

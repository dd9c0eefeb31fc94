"""Conversion between Arrow tables and GraphBatch.

A chunk of an Arrow list column already is a packed batch, so no code runs per graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, row_graph
from distgnn.graph.checked import real
from distgnn.graph.schema import Feature, Schema

Array = npt.NDArray[Any]
T = TypeVar("T")


def _id_type(count: int) -> pa.DataType:
    return pa.uint8() if count <= 1 << 8 else pa.uint16() if count <= 1 << 16 else pa.uint32()


def _value_type(feature: Feature) -> pa.DataType:
    return _id_type(feature.size) if feature.kind == "categorical" else pa.float32()


def arrow_schema(schema: Schema) -> pa.Schema:
    """Return the Arrow schema of every shard of a corpus."""
    node_id = _id_type(schema.max_nodes)
    columns = [
        pa.field("graph_id", pa.uint64(), nullable=False),
        pa.field("num_nodes", pa.uint32(), nullable=False),
        pa.field("src", pa.list_(node_id), nullable=False),
        pa.field("dst", pa.list_(node_id), nullable=False),
    ]
    for prefix, features in (("node", schema.node), ("edge", schema.edge)):
        columns += [pa.field(f"{prefix}.{f.name}", pa.list_(_value_type(f)), nullable=False) for f in features]
    if schema.center:
        columns.append(pa.field("center", pa.uint32()))
    if schema.labels:
        columns.append(pa.field("y", pa.list_(pa.float32())))
    if schema.group:
        columns.append(pa.field("group", pa.string()))
    if schema.split:
        columns.append(pa.field("split", pa.uint8()))
    return pa.schema(columns)


@dataclass(frozen=True)
class Piece:
    """Packed graphs to be written to a corpus, with their group and split.

    Attributes:
        graphs: the graphs.
        group: one string or None (unknown) per graph; None if the schema has no groups.
        split: 0 train, 1 val, 2 test or None (unknown) per graph; None if the schema has no split.
    """

    graphs: GraphBatch
    group: Sequence[str | None] | None = None
    split: Sequence[int | None] | None = None


def _lists(ptr: Array, values: Array, kind: pa.DataType) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(ptr, pa.int32()), pa.array(values).cast(kind))


def _columns_of(features: tuple[Feature, ...], cat: Array, dense: Array, ptr: Array) -> list[pa.ListArray]:
    columns, next_cat, next_dense = [], 0, 0
    for feature in features:
        if feature.kind == "categorical":
            columns.append(_lists(ptr, np.ascontiguousarray(cat[:, next_cat]), _value_type(feature)))
            next_cat += 1
        else:
            values = np.ascontiguousarray(dense[:, next_dense : next_dense + feature.size]).reshape(-1)
            columns.append(_lists(ptr * feature.size, values, _value_type(feature)))
            next_dense += feature.size
    return columns


def pack(schema: Schema, piece: Piece) -> pa.Table:
    """Convert a piece that has passed :func:`check_values` and :func:`check_structure` to a table, one row per graph."""
    graphs = piece.graphs
    node_ptr, edge_ptr = graphs.node_ptr.numpy(), graphs.edge_ptr.numpy()
    starts = np.repeat(node_ptr[:-1], np.diff(edge_ptr))
    node_id = _id_type(schema.max_nodes)
    columns: list[pa.Array | pa.ListArray] = [
        pa.array(graphs.graph_id.numpy().view(np.uint64)),
        pa.array(np.diff(node_ptr).astype(np.uint32)),
        *(_lists(edge_ptr, row.numpy() - starts, node_id) for row in graphs.edges),
        *_columns_of(schema.node, graphs.node_cat.numpy(), graphs.node_dense.numpy(), node_ptr),
        *_columns_of(schema.edge, graphs.edge_cat.numpy(), graphs.edge_dense.numpy(), edge_ptr),
    ]
    if schema.center:
        columns.append(pa.array((_required(graphs.center, "center").numpy() - node_ptr[:-1]).astype(np.uint32)))
    if schema.labels:
        y = real(_required(graphs.y, "y").numpy(), "y", shape=(graphs.num_graphs, len(schema.labels)), unknown=True)
        ptr = np.arange(len(y) + 1) * len(schema.labels)
        columns.append(_lists(ptr, np.ascontiguousarray(y).reshape(-1), pa.float32()))
    if schema.group:
        columns.append(pa.array(_required(piece.group, "group"), pa.string()))
    if schema.split:
        split = _required(piece.split, "split")
        if not set(split) <= {0, 1, 2, None}:
            raise RequestError(f"split: {min(set(split) - {0, 1, 2, None}, key=str)!r} is not 0, 1, 2 or None")
        columns.append(pa.array(split, pa.uint8()))
    return pa.Table.from_arrays(columns, schema=arrow_schema(schema))


def _required(value: T | None, name: str) -> T:
    if value is None:
        raise RequestError(f"the schema has {name!r}, but the graphs do not; provide it or change the schema")
    return value


def check_values(schema: Schema, graphs: GraphBatch, where: str) -> None:
    """Check ids, categories, dense values and labels. Cheap, so that readers call it for every unit.

    Raises:
        RequestError: a value is out of range; the message names the first such row.
    """
    node_ptr, per_graph = graphs.node_ptr.numpy(), graphs.edge_ptr.diff().numpy()
    local = (graphs.edges.numpy() - np.repeat(node_ptr[:-1], per_graph)).view(np.uint64)  # negative ids become large
    outside = np.maximum(*local) >= np.repeat(np.diff(node_ptr).astype(np.uint64), per_graph)
    if outside.any():
        _refuse(
            where, graphs, row_graph(graphs.edge_ptr).numpy(), outside, "an edge refers to a node outside the graph"
        )
    for kind, features, cat, dense, ptr in (
        ("node", schema.node, graphs.node_cat, graphs.node_dense, graphs.node_ptr),
        ("edge", schema.edge, graphs.edge_cat, graphs.edge_dense, graphs.edge_ptr),
    ):
        limits = torch.tensor([f.size for f in features if f.kind == "categorical"], dtype=torch.int32)
        bad, infinite = (cat < 0) | (cat >= limits), ~torch.isfinite(dense)
        if not bool(bad.any()) and not bool(infinite.any()):
            continue
        rows, what = row_graph(ptr).numpy(), f"a {kind} category is outside [0, size) for sizes {limits.tolist()}"
        _refuse(where, graphs, rows, bad.any(dim=1).numpy(), what)
        _refuse(where, graphs, rows, infinite.any(dim=1).numpy(), f"a {kind} feature is NaN or infinite")
    if graphs.center is not None:
        center = graphs.center.numpy()
        outside = (center < node_ptr[:-1]) | (center >= node_ptr[1:])
        _refuse(where, graphs, np.arange(graphs.num_graphs), outside, "the centre node is outside the graph")
    if graphs.y is not None:
        infinite = torch.isinf(graphs.y).any(dim=1).numpy()
        _refuse(where, graphs, np.arange(graphs.num_graphs), infinite, "a label is infinite")


def check_structure(schema: Schema, graphs: GraphBatch, where: str) -> None:
    """Check graph sizes and, in undirected corpora, that there are no self-loops or duplicate edges.

    Raises:
        RequestError: a graph violates this; the message names the first such row.
    """
    empty = graphs.node_ptr.diff().numpy() == 0
    _refuse(where, graphs, np.arange(graphs.num_graphs), empty, "the graph has no nodes")
    too_large = graphs.node_ptr.diff().numpy() > schema.max_nodes
    _refuse(where, graphs, np.arange(graphs.num_graphs), too_large, f"more than max_nodes={schema.max_nodes} nodes")
    if schema.directed:
        return
    edges, owner = graphs.edges.numpy(), np.repeat(np.arange(graphs.num_graphs), graphs.edge_ptr.diff().numpy())
    _refuse(where, graphs, owner, edges[0] == edges[1], "an edge joins a node to itself; drop self-loops")
    keys = edges.min(axis=0) * max(graphs.num_nodes, 1) + edges.max(axis=0)
    order = np.argsort(keys, kind="stable")
    same = np.diff(keys[order]) == 0
    _refuse(where, graphs, owner[order[1:]], same, "an undirected edge is stored twice; store each once")


def _refuse(where: str, graphs: GraphBatch, owner: Array, bad: Array, what: str) -> None:
    if bad.any():
        row = int(owner[int(np.argmax(bad))])
        raise RequestError(f"{where}, row {row} (graph {int(graphs.graph_id[row])}): {what}")


def _flat(column: pa.ListArray, counts: Array, where: str, name: str) -> Array:
    """Return the values of a list column whose row lengths must be ``counts``."""
    found = column.value_lengths().to_numpy(zero_copy_only=False)
    if column.null_count or not np.array_equal(found, counts):
        row = int(np.argmax(found != counts)) if not column.null_count else int(np.argmax(column.is_null()))
        raise RequestError(f"{where}, row {row}, field {name}: expected {counts[row]} values, found {found[row]}")
    return column.flatten().to_numpy(zero_copy_only=False)


def _features(
    table: pa.Table, prefix: str, features: tuple[Feature, ...], counts: Array, where: str
) -> list[torch.Tensor]:
    total = int(counts.sum())
    widths = [(feature, 1 if feature.kind == "categorical" else feature.size) for feature in features]
    found = []
    for categorical, dtype in ((True, np.int32), (False, np.float32)):
        chosen = [(f, width) for f, width in widths if (f.kind == "categorical") == categorical]
        array, low = np.empty((total, sum(width for _, width in chosen)), dtype), 0
        for feature, width in chosen:
            name = f"{prefix}.{feature.name}"
            values = _flat(table.column(name).combine_chunks(), counts * width, where, name)
            array[:, low : low + width] = values.reshape(total, width)
            low += width
        found.append(torch.from_numpy(array))
    return found


def unpack(schema: Schema, table: pa.Table, where: str) -> GraphBatch:
    """Convert an Arrow table to a GraphBatch.

    Raises:
        RequestError: a row violates the format; the message names ``where``, row and field.
    """
    nodes = table.column("num_nodes").to_numpy().astype(np.int64)
    node_ptr = np.concatenate([[0], np.cumsum(nodes)])
    lengths = table.column("src").combine_chunks().value_lengths().to_numpy().astype(np.int64)
    edge_ptr = np.concatenate([[0], np.cumsum(lengths)])
    endpoints = [
        _flat(table.column(name).combine_chunks(), lengths, where, name).astype(np.int64) for name in ("src", "dst")
    ]
    starts = np.repeat(node_ptr[:-1], lengths)
    node_cat, node_dense = _features(table, "node", schema.node, nodes, where)
    edge_cat, edge_dense = _features(table, "edge", schema.edge, lengths, where)
    labels, center, y = len(schema.labels), None, None
    if schema.center:
        if table.column("center").null_count:
            raise RequestError(f"{where}, field center: a graph has no centre, but the schema requires one")
        center = torch.from_numpy(table.column("center").to_numpy().astype(np.int64) + node_ptr[:-1])
    if labels and "y" in table.column_names:
        counts = np.full(len(nodes), labels)
        y = torch.from_numpy(_flat(table.column("y").combine_chunks(), counts, where, "y").reshape(-1, labels).copy())
    return GraphBatch(
        graph_id=torch.from_numpy(table.column("graph_id").to_numpy().view(np.int64).copy()),
        node_ptr=torch.from_numpy(node_ptr),
        edge_ptr=torch.from_numpy(edge_ptr),
        edges=torch.from_numpy(np.stack(endpoints) + starts),
        node_cat=node_cat,
        node_dense=node_dense,
        edge_cat=edge_cat,
        edge_dense=edge_dense,
        center=center,
        y=y,
        directed=schema.directed,
    )

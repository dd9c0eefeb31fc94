"""Conversion between GraphBatch and PyG Data.

Kept apart from batch.py because importing PyG takes about 1.5 s and corpus readers do not need it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, message_edges, row_graph, slice_graphs
from distgnn.graph.schema import Feature, Schema, sizes


def _feature_columns(
    data: Data, name: str, schema_features: tuple[Feature, ...], rows: int, where: str
) -> tuple[Tensor, Tensor]:
    """Split ``data.<name>`` and ``data.<name>_dense`` into int32 categories and float32 numbers, checked against the schema."""
    wanted = {kind: sizes(schema_features, kind) for kind in ("categorical", "dense")}
    value, extra = data.get(name), data.get(f"{name}_dense")
    if value is not None and value.dim() == 1:
        value = value.unsqueeze(1)
    if not wanted["categorical"]:
        value, extra = None, extra if extra is not None else value
    cat = torch.zeros(rows, 0, dtype=torch.int32) if value is None else value
    dense = torch.zeros(rows, 0) if extra is None else extra.unsqueeze(-1).flatten(1)
    if cat.is_floating_point() and not torch.equal(cat, cat.round()):
        raise RequestError(
            f"{where}.{name}: the schema has categorical features, found non-integer values; convert them to integer categories"
        )
    found = cat.shape[1], dense.shape[1]
    if found != (len(wanted["categorical"]), sum(wanted["dense"])):
        expected = f"{len(wanted['categorical'])} categorical and {sum(wanted['dense'])} dense columns"
        raise RequestError(f"{where}.{name}: the schema has {expected}, found {found[0]} and {found[1]}")
    limits = torch.tensor(wanted["categorical"], dtype=torch.int64, device=cat.device)
    if cat.numel() and bool(((cat < 0) | (cat >= limits)).any()):
        raise RequestError(f"{where}.{name}: a category is outside [0, size) for sizes {wanted['categorical']}")
    return cat.to(torch.int32), dense.to(torch.float32)


def from_pyg(data: Data, schema: Schema) -> GraphBatch:
    """Convert PyG Data or Batch to a GraphBatch.

    Every direction in ``edge_index`` is kept as is, so the result is ``directed`` and messages are those of PyG.

    Args:
        data: ``x`` holds categories (with dense numbers in ``x_dense``), or dense numbers if the schema has no categorical
            features; ``edge_attr`` / ``edge_attr_dense`` likewise. Optional: ``y``, ``graph_id``, ``center_index``
            (batch-absolute, which ``Batch.from_data_list`` does for names that end in "index").
        schema: features to check against.

    Returns:
        A GraphBatch; without ``graph_id`` its ids are 0, 1, ....

    Raises:
        RequestError: the data does not match the schema.
    """
    if data.edge_index is None or data.num_nodes is None:
        raise RequestError("data.edge_index: missing; a PyG graph needs edge_index and x or num_nodes")
    n, edges = int(data.num_nodes), data.edge_index
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= n):
        raise RequestError(f"data.edge_index: a node id is outside [0, {n})")
    node_cat, node_dense = _feature_columns(data, "x", schema.node, n, "data")
    edge_cat, edge_dense = _feature_columns(data, "edge_attr", schema.edge, edges.shape[1], "data")
    batch_ptr = data.get("ptr")  # a Batch has one
    ptr = torch.tensor([0, n]) if batch_ptr is None else batch_ptr
    ptr = ptr.to(edges.device, torch.int64)
    if batch_ptr is not None and edges.numel():
        owner = torch.bucketize(edges[0], ptr[1:], right=True)
        order = torch.argsort(owner, stable=True)
        edges, edge_cat, edge_dense = edges[:, order], edge_cat[order], edge_dense[order]
        counts = torch.bincount(owner, minlength=ptr.numel() - 1)
        edge_ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    else:
        edge_ptr = torch.zeros_like(ptr)
        edge_ptr[-1] = edges.shape[1] if ptr.numel() == 2 else 0
    graphs = ptr.numel() - 1
    y, graph_id, center = data.get("y"), data.get("graph_id"), data.get("center_index")
    return GraphBatch(
        graph_id=torch.arange(graphs) if graph_id is None else graph_id.view(-1),
        node_ptr=ptr,
        edge_ptr=edge_ptr,
        edges=edges,
        node_cat=node_cat,
        node_dense=node_dense,
        edge_cat=edge_cat,
        edge_dense=edge_dense,
        center=None if center is None else center.view(-1).to(torch.int64),
        y=None if y is None else y.view(graphs, -1).to(torch.float32),
        directed=True,
    )


def to_pyg(batch: GraphBatch) -> Batch:
    """A PyG Batch with both directions of every undirected edge; the inverse of :func:`from_pyg` up to edge order.

    Categories go to ``x`` / ``edge_attr`` and numbers to ``x_dense`` / ``edge_attr_dense``; the centre node is
    ``center_index`` and is shifted when PyG batches again.
    """
    graphs = [_one_to_pyg(slice_graphs(batch, g, g + 1)) for g in range(batch.num_graphs)]
    return Batch.from_data_list(graphs)  # pyright: ignore[reportArgumentType]


def joined_pyg(batch: GraphBatch, edge_index: Tensor, edge: Tensor, dtype: torch.dtype) -> Data:
    """Convert all graphs to one PyG Data without labels.

    Args:
        batch: the graphs.
        edge_index: int64 [2, M], source and target of each message.
        edge: int64 [M], stored edge of each message.
        dtype: dtype of floating-point features.

    Returns:
        Data with ``batch`` int64 [N] and ``ptr`` int64 [G+1]; ``center_index`` is batch-absolute.
    """
    data = _data(batch, edge_index, edge)
    data.batch, data.ptr = row_graph(batch.node_ptr), batch.node_ptr
    return data.apply(lambda value: value.to(dtype) if value.is_floating_point() else value)


def _one_to_pyg(graph: GraphBatch) -> Data:
    edge_index, copies = message_edges(graph)
    data = _data(graph, edge_index, torch.arange(graph.num_edges, device=edge_index.device).repeat(copies))
    if graph.y is not None:
        data.y = graph.y
    return data


def _data(graph: GraphBatch, edge_index: Tensor, edge: Tensor) -> Data:
    edge_cat, edge_dense = graph.edge_cat[edge], graph.edge_dense[edge]
    data = Data(edge_index=edge_index, num_nodes=graph.num_nodes, graph_id=graph.graph_id)
    if graph.node_cat.shape[1]:
        data.x = graph.node_cat.long()
    if graph.node_dense.shape[1]:
        data["x_dense" if graph.node_cat.shape[1] else "x"] = graph.node_dense
    if edge_cat.shape[1]:
        data.edge_attr = edge_cat.long()
    if edge_dense.shape[1]:
        data["edge_attr_dense" if edge_cat.shape[1] else "edge_attr"] = edge_dense
    if graph.center is not None:
        data.center_index = graph.center
    return data

"""Conversion between GraphBatch and PyG Data.

PyG is imported on first use: it takes longer than all else that a command imports, and most commands do not use it.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, message_edges, row_graph
from distgnn.graph.schema import Feature, Schema, sizes

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data
    from typing_extensions import TypeIs


def pyg_data() -> Any:
    """Import ``torch_geometric.data``."""
    return importlib.import_module("torch_geometric.data")


def is_pyg(value: object) -> TypeIs[Data]:
    """Return whether ``value`` is a PyG ``Data`` or ``Batch``, without importing PyG."""
    module = sys.modules.get("torch_geometric.data")
    return module is not None and isinstance(value, module.Data)


def dense_tensor(data: Data, name: str, rows: int | None = None) -> Tensor | None:
    """Return a dense tensor of real numbers; None if the data has no such attribute.

    Raises:
        RequestError: it is something else, or has another number of rows.
    """
    value = data.get(name)
    if value is None:
        return None
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_complex():
        kind = f"{value.dtype} tensor" if isinstance(value, Tensor) else type(value).__name__
        raise RequestError(f"data.{name}: expected a dense tensor of numbers, found {kind}; torch.as_tensor makes one")
    if rows is not None and (not value.dim() or len(value) != rows):
        raise RequestError(f"data.{name}: expected {rows} rows, found shape {list(value.shape)}")
    return value


def _edge_index(data: Data, nodes: int) -> Tensor:
    edges = dense_tensor(data, "edge_index")
    if edges is None or edges.dim() != 2 or len(edges) != 2 or edges.is_floating_point() or edges.dtype == torch.bool:
        found = "none" if edges is None else f"{str(edges.dtype).removeprefix('torch.')} {list(edges.shape)}"
        raise RequestError(f"data.edge_index: expected whole numbers of shape [2, E], found {found}")
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= nodes):
        raise RequestError(f"data.edge_index: a node id is outside [0, {nodes})")
    return edges.to(torch.int64)


def _feature_columns(
    data: Data, name: str, schema_features: tuple[Feature, ...], rows: int, where: str
) -> tuple[Tensor, Tensor]:
    """Split ``data.<name>`` and ``data.<name>_dense`` into int32 categories and float32 numbers, checked against the schema."""
    value, extra = (dense_tensor(data, one, rows) for one in (name, f"{name}_dense"))
    expected_sizes = {kind: sizes(schema_features, kind) for kind in ("categorical", "dense")}
    if value is not None and value.dim() == 1:
        value = value.unsqueeze(1)
    if not expected_sizes["categorical"]:
        value, extra = None, extra if extra is not None else value
    cat = torch.zeros(rows, 0, dtype=torch.int32) if value is None else value
    dense = torch.zeros(rows, 0) if extra is None else extra.unsqueeze(-1).flatten(1)
    if cat.is_floating_point() and not torch.equal(cat, cat.round()):
        raise RequestError(
            f"{where}.{name}: the schema has categorical features, found non-integer values; convert them to integer categories,"
            f" and give dense features as data.{name}_dense"
        )
    found = cat.shape[1], dense.shape[1]
    if found != (len(expected_sizes["categorical"]), sum(expected_sizes["dense"])):
        expected = f"{len(expected_sizes['categorical'])} categorical and {sum(expected_sizes['dense'])} dense columns"
        missing = f" (data.{name} is missing)" if data.get(name) is None else ""
        raise RequestError(f"{where}.{name}: the schema has {expected}, found {found[0]} and {found[1]}{missing}")
    limits = torch.tensor(expected_sizes["categorical"], dtype=torch.int64, device=cat.device)
    if cat.numel() and bool(((cat < 0) | (cat >= limits)).any()):
        worst = cat[(cat < 0) | (cat >= limits)][0]
        raise RequestError(
            f"{where}.{name}: the category {int(worst)} is outside [0, size) for sizes {expected_sizes['categorical']};"
            " categories are numbered from 0, and Feature(..., size) is their number"
        )
    return cat.to(torch.int32), dense.to(torch.float32)


def _whole(data: Data, name: str, graphs: int) -> Tensor | None:
    """Return one whole number for each graph, int64 [graphs]; None if the data has no such attribute."""
    value = dense_tensor(data, name)
    if value is None:
        return None
    if value.numel() != graphs or value.is_floating_point():
        raise RequestError(
            f"data.{name}: expected one whole number for each of {graphs} graphs, found {list(value.shape)}"
        )
    return value.reshape(-1).to(torch.int64)


def from_pyg(data: Data, schema: Schema) -> GraphBatch:
    """Convert PyG Data or Batch to a GraphBatch.

    Every direction in ``edge_index`` is kept as is, so the result is ``directed`` and messages are those of PyG.

    Args:
        data: ``x`` holds categories (with dense numbers in ``x_dense``), or dense numbers if the schema has no categorical
            features; ``edge_attr`` / ``edge_attr_dense`` likewise. Optional: ``y`` (as many values for each graph), ``graph_id``,
            ``center_index``
            (batch-absolute, which ``Batch.from_data_list`` does for names that end in "index").
        schema: features to check against.

    Returns:
        A GraphBatch; without ``graph_id`` its ids are 0, 1, ....

    Raises:
        RequestError: the data does not match the schema.
    """
    if data.edge_index is None or data.num_nodes is None:
        raise RequestError("data.edge_index: missing; a PyG graph needs edge_index and x or num_nodes")
    n = int(data.num_nodes)
    edges = _edge_index(data, n)
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
    y, graph_id, center = data.get("y"), _whole(data, "graph_id", graphs), _whole(data, "center_index", graphs)
    labelled = isinstance(y, Tensor) and graphs and y.numel() % graphs == 0 and not y.is_complex()
    return GraphBatch(
        graph_id=torch.arange(graphs) if graph_id is None else graph_id,
        node_ptr=ptr,
        edge_ptr=edge_ptr,
        edges=edges,
        node_cat=node_cat,
        node_dense=node_dense,
        edge_cat=edge_cat,
        edge_dense=edge_dense,
        center=center,
        y=y.reshape(graphs, -1).to(torch.float32) if labelled else None,
        directed=True,
    )


def to_pyg(batch: GraphBatch) -> Batch:
    """Convert packed graphs to a PyG Batch, without a loop over graphs.

    Every undirected edge appears in both directions. Categories go to ``x`` / ``edge_attr`` and numbers to ``x_dense`` /
    ``edge_attr_dense`` (to ``x`` / ``edge_attr`` where there are no categories). The result is the inverse of
    :func:`from_pyg` up to the order of edges.

    Args:
        batch: G graphs with N nodes.

    Returns:
        A Batch equal to ``Batch.from_data_list`` of the G graphs; ``to_data_list()`` works.

    Shape:
        edge_index int64 [2, M], graph_id int64 [G], y float32 [G, T], center_index int64 [G] (batch-absolute).
    """
    edge_index, edge, edge_ptr = _messages_by_graph(batch)
    joined = _data(batch, edge_index, edge)
    if batch.y is not None:
        joined.y = batch.y
    pyg = pyg_data()
    result = pyg.Batch(_base_cls=pyg.Data)
    result.stores_as(joined)
    nodes, one_per_graph, no_shift = (
        batch.node_ptr.cpu(),
        torch.arange(batch.num_graphs + 1),
        torch.zeros(batch.num_graphs).long(),
    )
    kinds = {"edge": edge_ptr.cpu(), "x": nodes}
    result._slice_dict, result._inc_dict, result._num_graphs = {}, {}, batch.num_graphs
    for name, value in joined.to_dict().items():
        result[name] = value
        if name != "num_nodes":
            result._slice_dict[name] = kinds.get(name.split("_")[0], one_per_graph)
            result._inc_dict[name] = nodes[:-1] if name.endswith("_index") else no_shift
    result._store._num_nodes = nodes.diff().tolist()
    result.batch, result.ptr = row_graph(batch.node_ptr), batch.node_ptr
    return result


def _messages_by_graph(batch: GraphBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return messages sorted stably by graph: edge_index [2, M], stored edge of each message [M], ptr [G+1]."""
    messages, copies = message_edges(batch)
    edge = torch.arange(batch.num_edges, device=messages.device)
    if copies == 1:
        return messages, edge, batch.edge_ptr
    owner = row_graph(batch.edge_ptr)
    order = torch.empty(2 * batch.num_edges, dtype=torch.int64, device=messages.device)
    order[edge + batch.edge_ptr[owner]] = edge
    order[edge + batch.edge_ptr[owner + 1]] = edge + batch.num_edges
    return messages[:, order], order % max(batch.num_edges, 1), 2 * batch.edge_ptr


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


def _data(graph: GraphBatch, edge_index: Tensor, edge: Tensor) -> Data:
    edge_cat, edge_dense = graph.edge_cat[edge], graph.edge_dense[edge]
    data = pyg_data().Data(edge_index=edge_index, num_nodes=graph.num_nodes, graph_id=graph.graph_id)
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

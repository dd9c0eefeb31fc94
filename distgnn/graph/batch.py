"""GraphBatch: many graphs packed end to end. The one graph type of distgnn; everything takes and returns it.

Functions over it (slice, concat, conversion from and to PyG) are free functions; the type itself holds no behaviour but sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from distgnn.errors import RequestError
from distgnn.graph.schema import Schema, sizes


@dataclass(frozen=True)
class Ragged:
    """Rows that belong to graphs: ``values`` [M, ...] with ``ptr`` int64 [G+1]; graph g owns rows ptr[g]:ptr[g+1].

    Values never hold batch-absolute ids (node and edge ids in them are local to their graph), so slices need no shift.
    """

    values: Tensor
    ptr: Tensor


@dataclass(frozen=True)
class GraphBatch:
    """G graphs with N nodes and E stored edges in total. All ids in it are batch-absolute.

    graph_id: int64 [G], the id given when the corpus was built; key of all randomness.
    node_ptr, edge_ptr: int64 [G+1]; graph g owns nodes node_ptr[g]:node_ptr[g+1], edges likewise.
    edges: int64 [2, E], an undirected edge once (both directions are made when messages are passed).
    node_cat, edge_cat: int32 [N, C] / [E, C], categorical features in schema order (C may be 0).
    node_dense, edge_dense: float32 [N, D] / [E, D], dense features side by side (D may be 0).
    center: int64 [G] centre node, or None where the corpus has none. y: float32 [G, T], NaN = unknown, or None.
    stream_ptr: int64 [S+1], graphs of stream s are stream_ptr[s]:stream_ptr[s+1]; None means one stream.
    directed: False means ``edges`` holds each undirected edge once.
    extras: per-graph rows that an objective made on the fly (tasks, masks), by name.
    """

    graph_id: Tensor
    node_ptr: Tensor
    edge_ptr: Tensor
    edges: Tensor
    node_cat: Tensor
    node_dense: Tensor
    edge_cat: Tensor
    edge_dense: Tensor
    center: Tensor | None = None
    y: Tensor | None = None
    stream_ptr: Tensor | None = None
    directed: bool = False
    extras: dict[str, Ragged] = field(default_factory=dict)

    @property
    def num_graphs(self) -> int:
        """G."""
        return self.graph_id.numel()

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.node_cat.shape[0]

    @property
    def num_edges(self) -> int:
        """E, stored edges."""
        return self.edges.shape[1]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> GraphBatch:
        """The same batch on another device."""
        changes: dict[str, object] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                changes[item.name] = value.to(device, non_blocking=non_blocking)
        extras = {
            name: Ragged(r.values.to(device, non_blocking=non_blocking), r.ptr.to(device, non_blocking=non_blocking))
            for name, r in self.extras.items()
        }
        return replace(self, extras=extras, **changes)


def row_graph(ptr: Tensor) -> Tensor:
    """int64 [ptr[-1]]: which graph owns each row."""
    return torch.repeat_interleave(torch.arange(ptr.numel() - 1, device=ptr.device), ptr.diff())


def slice_graphs(batch: GraphBatch, low: int, high: int) -> GraphBatch:
    """Graphs low:high as a batch of their own (views of the same memory where possible; stream_ptr is dropped)."""
    n0, n1 = int(batch.node_ptr[low]), int(batch.node_ptr[high])
    e0, e1 = int(batch.edge_ptr[low]), int(batch.edge_ptr[high])
    extras = {}
    for name, ragged in batch.extras.items():
        m0, m1 = int(ragged.ptr[low]), int(ragged.ptr[high])
        extras[name] = Ragged(ragged.values[m0:m1], ragged.ptr[low : high + 1] - m0)
    return GraphBatch(
        graph_id=batch.graph_id[low:high],
        node_ptr=batch.node_ptr[low : high + 1] - n0,
        edge_ptr=batch.edge_ptr[low : high + 1] - e0,
        edges=batch.edges[:, e0:e1] - n0,
        node_cat=batch.node_cat[n0:n1],
        node_dense=batch.node_dense[n0:n1],
        edge_cat=batch.edge_cat[e0:e1],
        edge_dense=batch.edge_dense[e0:e1],
        center=None if batch.center is None else batch.center[low:high] - n0,
        y=None if batch.y is None else batch.y[low:high],
        directed=batch.directed,
        extras=extras,
    )


def _gather_rows(ptr: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """(row numbers, new ptr) that put the graphs' rows into another order of graphs."""
    counts = ptr.diff()[order]
    new = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    shift = torch.repeat_interleave(ptr[order] - new[:-1], counts)
    return torch.arange(int(new[-1]), device=ptr.device) + shift, new


def select_graphs(batch: GraphBatch, order: Tensor) -> GraphBatch:
    """Graphs ``order`` (int64 indices, any subset or permutation) as a batch of their own (stream_ptr is dropped)."""
    nodes, node_ptr = _gather_rows(batch.node_ptr, order)
    edges, edge_ptr = _gather_rows(batch.edge_ptr, order)
    shift = node_ptr[:-1] - batch.node_ptr[order]
    extras = {}
    for name, ragged in batch.extras.items():
        rows, ptr = _gather_rows(ragged.ptr, order)
        extras[name] = Ragged(ragged.values[rows], ptr)
    return GraphBatch(
        graph_id=batch.graph_id[order],
        node_ptr=node_ptr,
        edge_ptr=edge_ptr,
        edges=batch.edges[:, edges] + torch.repeat_interleave(shift, edge_ptr.diff()),
        node_cat=batch.node_cat[nodes],
        node_dense=batch.node_dense[nodes],
        edge_cat=batch.edge_cat[edges],
        edge_dense=batch.edge_dense[edges],
        center=None if batch.center is None else batch.center[order] + shift,
        y=None if batch.y is None else batch.y[order],
        directed=batch.directed,
        extras=extras,
    )


def _join_ptr(pointers: list[Tensor]) -> Tensor:
    counts = torch.cat([pointer.diff() for pointer in pointers])
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _join_optional(values: list[Tensor | None], shifts: list[int]) -> Tensor | None:
    present = [
        value + shift if shift else value for value, shift in zip(values, shifts, strict=True) if value is not None
    ]
    return torch.cat(present) if len(present) == len(values) else None


def concat_graphs(batches: list[GraphBatch]) -> GraphBatch:
    """All graphs of ``batches`` in order; ids are shifted to stay batch-absolute (stream_ptr is dropped). Needs one or more."""
    first = batches[0]
    if len(batches) == 1:
        return replace(first, stream_ptr=None)
    starts = [0]
    for batch in batches[:-1]:
        starts.append(starts[-1] + batch.num_nodes)
    return GraphBatch(
        graph_id=torch.cat([b.graph_id for b in batches]),
        node_ptr=_join_ptr([b.node_ptr for b in batches]),
        edge_ptr=_join_ptr([b.edge_ptr for b in batches]),
        edges=torch.cat([b.edges + start for b, start in zip(batches, starts, strict=True)], dim=1),
        node_cat=torch.cat([b.node_cat for b in batches]),
        node_dense=torch.cat([b.node_dense for b in batches]),
        edge_cat=torch.cat([b.edge_cat for b in batches]),
        edge_dense=torch.cat([b.edge_dense for b in batches]),
        center=_join_optional([b.center for b in batches], starts),
        y=_join_optional([b.y for b in batches], [0] * len(batches)),
        directed=first.directed,
        extras={
            name: Ragged(
                torch.cat([b.extras[name].values for b in batches]), _join_ptr([b.extras[name].ptr for b in batches])
            )
            for name in first.extras
        },
    )


def _feature_columns(data: Data, name: str, schema_features: tuple, rows: int, where: str) -> tuple[Tensor, Tensor]:
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
        raise RequestError(f"{where}.{name}: the schema says categories, found fractions")
    found = cat.shape[1], dense.shape[1]
    if found != (len(wanted["categorical"]), sum(wanted["dense"])):
        expected = f"{len(wanted['categorical'])} categorical and {sum(wanted['dense'])} dense columns"
        raise RequestError(f"{where}.{name}: the schema has {expected}, found {found[0]} and {found[1]}")
    limits = torch.tensor(wanted["categorical"], dtype=torch.int64, device=cat.device)
    if cat.numel() and bool(((cat < 0) | (cat >= limits)).any()):
        raise RequestError(f"{where}.{name}: a category lies outside its range {wanted['categorical']}")
    return cat.to(torch.int32), dense.to(torch.float32)


def from_pyg(data: Data, schema: Schema) -> GraphBatch:
    """A GraphBatch from PyG Data or Batch, raising RequestError where it does not fit ``schema``.

    ``data.x`` holds categories (``data.x_dense`` numbers beside them) or, where the schema has no categories, numbers;
    ``edge_attr`` / ``edge_attr_dense`` likewise. ``edge_index`` follows PyG: each undirected edge in both directions; all
    directions are kept as they stand (the result is ``directed``), so any PyG graph is read exactly as PyG would.
    ``center_node_idx`` of a Batch must be batch-absolute, which ``Batch.from_data_list`` does for names ending in "index".
    """
    if data.edge_index is None or data.num_nodes is None:
        raise RequestError("data.edge_index: missing; a PyG graph needs edge_index and x or num_nodes")
    n, edges = int(data.num_nodes), data.edge_index
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= n):
        raise RequestError(f"data.edge_index: a node id lies outside 0..{n - 1}")
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


def _one_to_pyg(graph: GraphBatch) -> Data:
    both = (lambda rows: rows) if graph.directed else (lambda rows: torch.cat([rows, rows]))
    edge_index, edge_cat, edge_dense = message_edges(graph)[0], both(graph.edge_cat), both(graph.edge_dense)
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
    if graph.y is not None:
        data.y = graph.y
    return data


def message_edges(batch: GraphBatch) -> tuple[Tensor, int]:
    """(edge_index int64 [2, M], copies): source and target of every message; stored edges appear ``copies`` times, in order."""
    if batch.directed:
        return batch.edges, 1
    return torch.cat([batch.edges, batch.edges.flip(0)], dim=1), 2

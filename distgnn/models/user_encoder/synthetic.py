"""Synthetic graphs that match a schema, for trial runs of a user's module."""

from __future__ import annotations

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch
from distgnn.graph.keyed import draw, key, unit_interval
from distgnn.graph.purposes import CheckDraw
from distgnn.graph.schema import Feature, Schema

_SIZES = (5, 3, 7)


def synthetic_graphs(schema: Schema) -> GraphBatch:
    """Create three graphs, each a stream, with distinct numbers of nodes (15), edges (14, or 28 messages) and graphs.

    The last node of the last graph is isolated.
    """
    edges: list[tuple[int, int]] = []
    edge_counts, start = [], 0
    for size in _SIZES:
        connected = size - 1 if size == max(_SIZES) else size
        path = [(start + i, start + i + 1) for i in range(connected - 1)]
        graph_edges = [*path, (start, start + 2), (start, start + connected - 1)] if connected > 3 else path
        edges += graph_edges
        edge_counts.append(len(graph_edges))
        start += size
    first = torch.tensor([0, *_SIZES]).cumsum(0)
    count = len(edges)
    return GraphBatch(
        graph_id=torch.arange(len(_SIZES)),
        node_ptr=first,
        edge_ptr=torch.tensor([0, *edge_counts]).cumsum(0),
        edges=torch.tensor(edges).t().contiguous(),
        node_cat=_categories(schema.node, start, 0),
        node_dense=_numbers(schema.node, start, 1),
        edge_cat=_categories(schema.edge, count, 2),
        edge_dense=_numbers(schema.edge, count, 3),
        center=first[:-1] if schema.center else None,
        directed=schema.directed,
        stream_ptr=torch.arange(len(_SIZES) + 1),
    )


def synthetic_values(rows: int, columns: int, purpose: int) -> Tensor:
    """Return deterministic uniform numbers in [-1, 1), float32 [rows, columns]."""
    words = draw(key(CheckDraw.SYNTHETIC, purpose), range(rows * columns))
    return torch.from_numpy(unit_interval(words) * 2 - 1).float().view(rows, columns)


def _categories(features: tuple[Feature, ...], rows: int, purpose: int) -> Tensor:
    sizes = torch.tensor([f.size for f in features if f.kind == "categorical"])
    share = (synthetic_values(rows, len(sizes), purpose) + 1) / 2
    return (share * sizes).to(torch.int32).clamp(max=sizes - 1) if len(sizes) else share.to(torch.int32)


def _numbers(features: tuple[Feature, ...], rows: int, purpose: int) -> Tensor:
    return synthetic_values(rows, sum(f.size for f in features if f.kind == "dense"), purpose)

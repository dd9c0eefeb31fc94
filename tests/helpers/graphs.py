"""Small random graphs for tests, packed by plain loops."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import networkx as nx
import numpy as np
import torch

from distgnn.graph.batch import GraphBatch
from distgnn.graph.schema import Feature, Schema

MOLECULE = Schema(
    node=(Feature("atom", "categorical", 7), Feature("charge", "dense", 2)),
    edge=(Feature("bond", "categorical", 4), Feature("length", "dense", 1)),
)
BARE = Schema()


def random_graphs(sizes: list[int], schema: Schema = MOLECULE, seed: int = 0, density: float = 0.4) -> GraphBatch:
    """One graph per size: a keyed random set of node pairs is joined; features are random; the centre is the last node."""
    rng = np.random.default_rng(seed)
    edges, counts, start = [], [], 0
    for size in sizes:
        pairs = [(start + i, start + j) for i in range(size) for j in range(i) if rng.random() < density]
        rng.shuffle(pairs)
        edges += pairs
        counts.append(len(pairs))
        start += size
    index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t().contiguous()
    return GraphBatch(
        graph_id=torch.arange(len(sizes)) + 100,
        node_ptr=torch.tensor(np.concatenate([[0], np.cumsum(sizes)]), dtype=torch.int64),
        edge_ptr=torch.tensor(np.concatenate([[0], np.cumsum(counts)]), dtype=torch.int64),
        edges=index,
        node_cat=_categories(rng, start, schema.node),
        node_dense=_numbers(rng, start, schema.node),
        edge_cat=_categories(rng, index.shape[1], schema.edge),
        edge_dense=_numbers(rng, index.shape[1], schema.edge),
        center=torch.tensor(np.cumsum(sizes) - 1) if schema.center else None,
    )


def _categories(rng: np.random.Generator, rows: int, features: tuple[Feature, ...]) -> torch.Tensor:
    columns = [rng.integers(0, f.size, rows) for f in features if f.kind == "categorical"]
    return torch.tensor(np.stack(columns, 1) if columns else np.zeros((rows, 0)), dtype=torch.int32)


def _numbers(rng: np.random.Generator, rows: int, features: tuple[Feature, ...]) -> torch.Tensor:
    width = sum(f.size for f in features if f.kind == "dense")
    return torch.tensor(rng.normal(size=(rows, width)), dtype=torch.float32)


def with_tasks(
    graphs: GraphBatch, prepare, streams: list[int] | None = None, seed: int = 3, epoch: int = 0
) -> GraphBatch:
    """Return the batch of a training step, with extras; streams are given by their first graphs."""
    ptr = None if streams is None else torch.tensor([*streams, graphs.num_graphs])
    return replace(graphs, extras=prepare(graphs, seed, epoch), stream_ptr=ptr)


def permute_nodes(graphs: GraphBatch, seed: int = 0) -> tuple[GraphBatch, torch.Tensor]:
    """(the same graphs with node ids permuted within each graph, new id of each old node int64 [N])."""
    rng = np.random.default_rng(seed)
    ptr = graphs.node_ptr.tolist()
    new = torch.cat([torch.tensor(rng.permutation(high - low) + low) for low, high in pairwise(ptr)])
    old = torch.argsort(new)
    moved = replace(
        graphs,
        edges=new[graphs.edges],
        node_cat=graphs.node_cat[old],
        node_dense=graphs.node_dense[old],
        center=None if graphs.center is None else new[graphs.center],
    )
    return moved, new


def as_networkx(graph: GraphBatch) -> nx.Graph:
    """A single graph without its features."""
    plain = nx.Graph()
    plain.add_nodes_from(range(graph.num_nodes))
    plain.add_edges_from(graph.edges.t().tolist())
    return plain

"""ContextPred and its search against networkx, one graph at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, concat_graphs, slice_graphs
from distgnn.graph.distances import hops
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.objectives.base import ObjectiveContext
from distgnn.objectives.contextpred import NAME, ContextConfig, ContextPred, RootDistances
from tests.helpers.graphs import BARE, MOLECULE, as_networkx, random_graphs, with_tasks

SIZES = [14, 1, 12, 5, 16, 2, 13, 11, 9]
STREAMS = [0, 4, 8]  # the last stream has a single graph


def long_graphs(sizes: list[int] = SIZES, seed: int = 0) -> GraphBatch:
    """Sparse graphs, some of several components, with distances up to about 8."""
    return concat_graphs([random_graphs([size], MOLECULE, seed + i, 2.2 / size) for i, size in enumerate(sizes)])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=5),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.15, 0.3, 1.0]),
    st.integers(0, 5),
)
def test_hops_equal_breadth_first_search(sizes: list[int], seed: int, density: float, radius: int) -> None:
    graphs = random_graphs(sizes, BARE, seed, density)
    starts = graphs.node_ptr[:-1].numpy()
    roots = starts + np.random.default_rng(seed).integers(0, sizes)
    expected = np.full(graphs.num_nodes, -1)
    for root in roots.tolist():
        reached = nx.single_source_shortest_path_length(as_networkx(graphs), root, radius or None)
        expected[list(reached)] = list(reached.values())
    np.testing.assert_array_equal(hops(graphs.edges.numpy(), roots, graphs.num_nodes, radius), expected)


def test_hops_of_a_long_path() -> None:
    path = np.stack([np.arange(299), np.arange(1, 300)])
    np.testing.assert_array_equal(hops(path, np.array([0]), 300), np.arange(300))


def test_every_node_becomes_the_root() -> None:
    graphs = random_graphs([7], density=0.5)
    roots = {int((RootDistances(4)(graphs, 0, epoch)[NAME].values == 0).nonzero()) for epoch in range(100)}
    assert roots == set(range(7))


@dataclass(frozen=True)
class Slow:
    """ContextPred graph by graph: subgraphs by networkx, plain sums. total: None where no graph has anchors."""

    total: Tensor | None
    usable: int
    right: int
    scores: int


def induced(graph: GraphBatch, nodes: set[int]) -> GraphBatch:
    """A single graph's subgraph induced by ``nodes``, in their order."""
    kept = sorted(nodes)
    edges = [i for i, (u, v) in enumerate(graph.edges.t().tolist()) if u in nodes and v in nodes]
    ends = [[kept.index(end) for end in row] for row in graph.edges[:, edges].tolist()]
    return GraphBatch(
        graph_id=graph.graph_id,
        node_ptr=torch.tensor([0, len(kept)]),
        edge_ptr=torch.tensor([0, len(edges)]),
        edges=torch.tensor(ends, dtype=torch.int64).reshape(2, -1),
        node_cat=graph.node_cat[kept],
        node_dense=graph.node_dense[kept],
        edge_cat=graph.edge_cat[edges],
        edge_dense=graph.edge_dense[edges],
    )


def slow_loss(encoder: Encoder, objective: ContextPred, batch: GraphBatch) -> Slow:
    config, total = objective.config, torch.zeros((), dtype=torch.float64)
    usable = right = scores = 0
    for low, high in pairwise([*STREAMS, batch.num_graphs]):
        contexts: list[Tensor] = []
        seen: list[GraphBatch] = []
        around: list[tuple[GraphBatch, list[int]]] = []
        places: list[tuple[int, int]] = []
        for g in range(low, high):
            graph = slice_graphs(batch, g, g + 1)
            distances = graph.extras[NAME].values.tolist()
            root = distances.index(0)
            far = nx.single_source_shortest_path_length(as_networkx(graph), root)
            near = {n for n in range(graph.num_nodes) if not config.neighbourhood}
            near |= {n for n, d in far.items() if d <= config.neighbourhood}
            context = {n for n, d in far.items() if d > config.inner and (not config.outer or d <= config.outer)}
            seen.append(induced(graph, near))
            if context & near:
                places.append((len(seen) - 1, sorted(near).index(root)))
                around.append((induced(graph, context), [sorted(context).index(n) for n in sorted(context & near)]))
        nodes = encoder(concat_graphs(seen)).split([part.num_nodes for part in seen])
        embedded = [nodes[part][root] for part, root in places]
        if around:
            inner = objective.context(concat_graphs([part for part, _ in around]))
            parts = inner.split([part.num_nodes for part, _ in around])
            contexts = [part[anchors].mean(0) for part, (_, anchors) in zip(parts, around, strict=True)]
        usable += len(embedded)
        for i, h in enumerate(embedded):
            positive, negative = h @ contexts[i], h @ contexts[(i + 1) % len(embedded)]
            total = total - F.logsigmoid(positive)
            right, scores = right + int(positive > 0), scores + 1
            if len(embedded) > 1:
                total = total - F.logsigmoid(-negative)
                right, scores = right + int(negative < 0), scores + 1
    return Slow(total if usable else None, usable, right, scores)


def build(context: ContextConfig, **encoder: Any) -> tuple[Encoder, ContextPred]:
    config = EncoderConfig(layers=3, width=6, **encoder)
    torch.manual_seed(0)
    objective = ContextPred(context, ObjectiveContext(MOLECULE, PretrainConfig(corpus="-", encoder=config))).double()
    return build_encoder(MOLECULE, config, 1).double(), objective


def assert_equals_slow(encoder: Encoder, objective: ContextPred) -> None:
    batch = with_tasks(long_graphs(), objective.prepare, streams=STREAMS)
    losses, slow = objective.losses(encoder, batch, 3, 0), slow_loss(encoder, objective, batch)
    assert slow.total is not None
    assert 0 < slow.usable < len(SIZES)
    assert float(losses.count) == slow.usable
    assert [float(part) for part in losses.sums["context_accuracy"]] == [slow.right, slow.scores]
    assert [float(part) for part in losses.sums["skipped"]] == [len(SIZES) - slow.usable, len(SIZES)]
    torch.testing.assert_close(losses.total, slow.total, rtol=1e-11, atol=0)
    trained = [*encoder.parameters(), *objective.parameters()]
    both = [torch.autograd.grad(t, trained, materialize_grads=True) for t in (losses.total, slow.total)]
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "context",
    [
        ContextConfig(),
        ContextConfig(neighbourhood=2, inner=1, outer=4),
        ContextConfig(neighbourhood=3, inner=2, outer=0),
        ContextConfig(neighbourhood=2, inner=0, outer=1, layers=2),
        ContextConfig(neighbourhood=0, inner=2, outer=0),
    ],
)
def test_equals_networkx(context: ContextConfig) -> None:
    assert_equals_slow(*build(context))


@pytest.mark.parametrize("kind", ["gin", "gcn", "sage", "gat"])
def test_equals_networkx_for_every_kind_of_encoder(kind: str) -> None:
    """With graphs that lose all nodes in the context."""
    assert_equals_slow(*build(ContextConfig(neighbourhood=3, inner=2, outer=5), kind=kind, norm="graph"))


def test_the_pooling_of_the_encoder_is_not_used() -> None:
    context = ContextConfig()
    encoder, objective = build(context, pooling="sum")
    assert_equals_slow(encoder, objective)


@pytest.mark.parametrize(
    "other", [{"neighbourhood": 4}, {"neighbourhood": 0}, {"inner": 0}, {"outer": 5}, {"layers": 1}]
)
def test_every_option_changes_the_loss(other: dict[str, int]) -> None:
    base = ContextConfig(neighbourhood=2, inner=1, outer=3, layers=2)
    totals = []
    for config in (base, replace(base, **other)):
        encoder, objective = build(config)
        batch = with_tasks(long_graphs(), objective.prepare, streams=STREAMS)
        totals.append(objective.losses(encoder, batch, 3, 0).total.detach())
    assert not torch.isclose(*totals)


def test_the_search_radius_is_the_largest_needed() -> None:
    config = ContextConfig(neighbourhood=2, inner=1, outer=3)
    distances = build(config)[1].prepare(long_graphs(), 3, 0)[NAME].values
    assert int(distances.max()) == 3
    everywhere = build(replace(config, outer=0))[1].prepare(long_graphs(), 3, 0)[NAME].values
    assert int(everywhere.max()) > 3


def test_batches_without_any_context_give_no_loss() -> None:
    encoder, objective = build(ContextConfig())
    batch = with_tasks(random_graphs([1, 2, 3], density=1.0), objective.prepare)
    losses = objective.losses(encoder, batch, 3, 0)
    assert float(losses.total) == float(losses.count) == 0.0
    assert [float(part) for part in losses.sums["skipped"]] == [3.0, 3.0]


def test_invalid_radii_are_refused() -> None:
    for wrong in ({"inner": 4}, {"neighbourhood": 1}, {"layers": 0}, {"outer": -1}):
        with pytest.raises(RequestError, match="contextpred"):
            ContextConfig(**wrong)

"""GraphCL: views against plain sets, and the loss against plain loops."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.graph.batch import GraphBatch, concat_graphs, slice_graphs
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.objectives.augmentations import VIEWS, Augmenter, views_of
from distgnn.objectives.base import ObjectiveContext
from distgnn.objectives.graphcl import ContrastConfig, GraphCL
from tests.helpers.graphs import BARE, MOLECULE, as_networkx, random_graphs, with_tasks

ALL = ("drop_nodes", "perturb_edges", "mask_attributes", "subgraph")
GRAPHS = st.builds(
    random_graphs,
    st.lists(st.integers(1, 12), min_size=1, max_size=6),
    st.just(MOLECULE),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)
RATES = st.floats(0.05, 0.95)
LAWFUL = settings(max_examples=60, deadline=None)


def changed(count: int, rate: float) -> int:
    """Return how many of ``count`` elements an augmentation changes."""
    return min(max(round(rate * count), 1), count)


def sampled_views(
    graphs: GraphBatch, names: tuple[str, ...], rate: float, seed: int = 0
) -> list[tuple[GraphBatch, Tensor]]:
    return views_of(replace(graphs, extras=Augmenter(names, rate)(graphs, seed, 0)))


def edge_set(graphs: GraphBatch, g: int) -> set[frozenset[int]]:
    graph = slice_graphs(graphs, g, g + 1)
    pairs = {frozenset(pair) for pair in graph.edges.t().tolist()}
    assert len(pairs) == graph.num_edges
    assert all(len(pair) == 2 for pair in pairs)
    return pairs


@LAWFUL
@given(GRAPHS, RATES)
def test_dropped_nodes_lose_their_edges(graphs: GraphBatch, rate: float) -> None:
    for view, hidden in sampled_views(graphs, ("drop_nodes",), rate):
        assert not hidden.any()
        for g, size in enumerate(graphs.node_ptr.diff().tolist()):
            part = slice_graphs(view, g, g + 1)
            assert part.num_nodes == size - min(changed(size, rate), size - 1)
            assert part.num_nodes >= 1
            assert len(edge_set(view, g)) <= len(edge_set(graphs, g))


@LAWFUL
@given(GRAPHS, RATES)
def test_perturbed_edges_become_non_edges_and_keep_their_attributes(graphs: GraphBatch, rate: float) -> None:
    for view, hidden in sampled_views(graphs, ("perturb_edges",), rate):
        assert not hidden.any()
        assert torch.equal(view.node_cat, graphs.node_cat)
        for g, size in enumerate(graphs.node_ptr.diff().tolist()):
            before, after = edge_set(graphs, g), edge_set(view, g)
            replaced, free = changed(len(before), rate), size * (size - 1) // 2 - len(before)
            assert len(before - after) == replaced
            assert len(after - before) == min(replaced, free)
            if replaced <= free:
                rows = slice_graphs(graphs, g, g + 1), slice_graphs(view, g, g + 1)
                assert torch.equal(rows[0].edge_cat, rows[1].edge_cat)


@LAWFUL
@given(GRAPHS, RATES)
def test_masking_changes_only_the_inputs_of_masked_nodes(graphs: GraphBatch, rate: float) -> None:
    for view, hidden in sampled_views(graphs, ("mask_attributes",), rate):
        assert torch.equal(view.edges, graphs.edges)
        for g, size in enumerate(graphs.node_ptr.diff().tolist()):
            own = hidden[int(graphs.node_ptr[g]) : int(graphs.node_ptr[g + 1])]
            assert int(own.sum()) == min(changed(size, rate), size - 1)


@LAWFUL
@given(GRAPHS, RATES)
def test_subgraphs_are_connected_parts(graphs: GraphBatch, rate: float) -> None:
    for view, _ in sampled_views(graphs, ("subgraph",), rate):
        for g, size in enumerate(graphs.node_ptr.diff().tolist()):
            whole, part = as_networkx(slice_graphs(graphs, g, g + 1)), as_networkx(slice_graphs(view, g, g + 1))
            assert nx.is_connected(part)
            wanted = size - min(changed(size, rate), size - 1)
            components = [len(nodes) for nodes in nx.connected_components(whole)]
            assert len(part) == wanted or (len(part) in components and len(part) < wanted)


def test_subgraphs_grow_from_every_node_and_end_anywhere_in_their_last_hop() -> None:
    star = random_graphs([6], BARE, density=0.0)
    none = {"edge_cat": torch.zeros(5, 0), "edge_dense": torch.zeros(5, 0)}
    edges = torch.tensor([[0] * 5, [1, 2, 3, 4, 5]])
    star = replace(star, edges=edges, edge_ptr=torch.tensor([0, 5]), **none)
    counts: Counter[frozenset[int]] = Counter()
    for epoch in range(300):
        state = Augmenter(("subgraph",), 0.5)(star, 0, epoch)["view0_nodes"].values
        counts[frozenset(torch.nonzero(state == 0).flatten().tolist())] += 1
    assert set(map(len, counts)) == {3}
    assert len(counts) == 10  # the centre and any two leaves
    assert min(counts.values()) > 10


def test_each_view_of_each_graph_samples_its_augmentation() -> None:
    graphs = random_graphs([8] * 400, MOLECULE, density=0.4)
    extras = Augmenter(ALL, 0.25)(graphs, 0, 0)
    sampled = []
    for number in range(VIEWS):
        state = extras[f"view{number}_nodes"].values.view(-1, 8)
        perturbed = extras[f"view{number}_edges"].ptr.diff() > 0
        sampled.append(torch.where(perturbed, 3, state.amax(1).long()).tolist())
    kinds = Counter(zip(*sampled, strict=True))
    assert {kind for pair in kinds for kind in pair} == {1, 2, 3}  # hidden, dropped (nodes or all but a part), edges
    assert len(kinds) == 9
    shares = Counter(sampled[0])
    assert shares[1] == pytest.approx(100, abs=30)
    assert shares[2] == pytest.approx(200, abs=40)
    assert not torch.equal(extras["view0_nodes"].values, extras["view1_nodes"].values)


def test_directed_graphs_keep_their_directions() -> None:
    edges = torch.tensor([[0, 1, 2, 3, 1], [1, 0, 1, 4, 2]])
    none = {"edge_cat": torch.zeros(5, 0), "edge_dense": torch.zeros(5, 0)}
    graphs = replace(
        random_graphs([5], BARE, density=0.0), edges=edges, edge_ptr=torch.tensor([0, 5]), directed=True, **none
    )
    for seed in range(20):
        for view, _ in sampled_views(graphs, ("perturb_edges",), 0.4, seed):
            kept = set(map(tuple, view.edges.t().tolist()))
            assert len(kept & set(map(tuple, edges.t().tolist()))) == 3
            assert len(kept) == 5


# The loss


def build(config: ContrastConfig, schema: Any = MOLECULE, **encoder: Any) -> tuple[Encoder, GraphCL]:
    torch.manual_seed(0)
    objective = GraphCL(
        config, ObjectiveContext(MOLECULE, PretrainConfig("-", encoder=EncoderConfig(width=6)))
    ).double()
    torch.nn.init.normal_(objective.token)
    return build_encoder(schema, EncoderConfig(layers=2, width=6, **encoder), 1).double(), objective


def slow_view(graph: GraphBatch, number: int) -> tuple[GraphBatch, list[bool]]:
    """The view of a single graph by dictionaries and lists: (graph, which of its nodes hide their input)."""
    state = graph.extras[f"view{number}_nodes"].values.tolist()
    moved = {edge: (u, v) for edge, u, v in graph.extras[f"view{number}_edges"].values.tolist()}
    kept = [node for node, value in enumerate(state) if value != 2]
    ends, rows = [], []
    for edge, pair in enumerate(graph.edges.t().tolist()):
        u, v = moved.get(edge, (pair[0], pair[1]))
        if u in kept and v in kept:
            ends.append((kept.index(u), kept.index(v)))
            rows.append(edge)
    part = GraphBatch(
        graph_id=graph.graph_id,
        node_ptr=torch.tensor([0, len(kept)]),
        edge_ptr=torch.tensor([0, len(rows)]),
        edges=torch.tensor(ends, dtype=torch.int64).reshape(-1, 2).t(),
        node_cat=graph.node_cat[kept],
        node_dense=graph.node_dense[kept],
        edge_cat=graph.edge_cat[rows],
        edge_dense=graph.edge_dense[rows],
    )
    return part, [state[node] == 1 for node in kept]


def slow_loss(encoder: Encoder, objective: GraphCL, batch: GraphBatch, streams: list[int]) -> tuple[Tensor, int]:
    """Return (loss, number of correctly matched rows), stream by stream and graph by graph."""
    total, right = torch.zeros((), dtype=torch.float64), 0
    for low, high in pairwise([*streams, batch.num_graphs]):
        embedded = []
        for number in range(VIEWS):
            made = [slow_view(slice_graphs(batch, g, g + 1), number) for g in range(low, high)]
            graphs, hidden = concat_graphs([part for part, _ in made]), [flag for _, own in made for flag in own]
            rows = [objective.token if hide else row for row, hide in zip(encoder.embed(graphs), hidden, strict=True)]
            pooled = encoder.pool(encoder(graphs, inputs=torch.stack(list[Tensor](rows))), graphs)
            embedded.append([z / z.norm() for z in objective.project(pooled)])
        if high - low == 1:
            continue
        for here, there in (embedded, embedded[::-1]):
            for n, z in enumerate(here):
                same = z @ there[n] / objective.temperature
                others = torch.stack([z @ there[m] / objective.temperature for m in range(len(there)) if m != n])
                total = total - torch.log(same.exp() / others.exp().sum()) / 2
                right += int(same > others.max())
    return total, right


@pytest.mark.parametrize("names", [ALL, *((name,) for name in ALL)])
def test_equals_plain_loops(names: tuple[str, ...]) -> None:
    encoder, objective = build(ContrastConfig(names, rate=0.3, temperature=0.4))
    batch = with_tasks(random_graphs([5, 1, 9, 2, 6, 3]), objective.prepare, streams=[0, 3, 4])
    losses = objective.losses(encoder, batch, 3, 0)
    slow, right = slow_loss(encoder, objective, batch, [0, 3, 4])
    torch.testing.assert_close(losses.total, slow, rtol=1e-11, atol=1e-12)
    assert float(losses.count) == 5.0
    assert [float(part) for part in losses.sums["contrast_accuracy"]] == [right, 10.0]
    assert [float(part) for part in losses.sums["skipped"]] == [1.0, 6.0]
    trained = [*encoder.parameters(), *objective.parameters()]
    both = [torch.autograd.grad(t, trained, allow_unused=True, materialize_grads=True) for t in (losses.total, slow)]
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("pooling", ["sum", "attention"])
def test_equals_plain_loops_without_features_or_omega(pooling: str) -> None:
    encoder, objective = build(ContrastConfig(rate=0.3), BARE, pooling=pooling, omega=False)
    batch = with_tasks(random_graphs([5, 4, 9], BARE), objective.prepare)
    slow, _ = slow_loss(encoder, objective, batch, [0])
    torch.testing.assert_close(objective.losses(encoder, batch, 3, 0).total, slow, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("other", [{"augmentations": ("subgraph",)}, {"rate": 0.6}, {"temperature": 0.3}])
def test_every_option_changes_the_loss(other: dict[str, Any]) -> None:
    totals = []
    for config in (ContrastConfig(), replace(ContrastConfig(), **other)):
        encoder, objective = build(config)
        batch = with_tasks(random_graphs([6, 9, 8, 7]), objective.prepare)
        totals.append(objective.losses(encoder, batch, 3, 0).total.detach())
    assert not torch.isclose(*totals)


def test_graphs_alone_in_their_streams_give_no_loss() -> None:
    encoder, objective = build(ContrastConfig())
    batch = with_tasks(random_graphs([6, 9]), objective.prepare, streams=[0, 1])
    losses = objective.losses(encoder, batch, 3, 0)
    assert float(losses.total) == float(losses.count) == 0.0
    assert [float(part) for part in losses.sums["skipped"]] == [2.0, 2.0]


def test_hidden_inputs_do_not_leak() -> None:
    """Features of hidden nodes have no influence."""
    encoder, objective = build(ContrastConfig(("mask_attributes",), rate=0.5))
    batch = with_tasks(random_graphs([6, 9, 8]), objective.prepare)
    hidden = [batch.extras[f"view{number}_nodes"].values == 1 for number in range(VIEWS)]
    both = torch.nonzero(hidden[0] & hidden[1]).flatten()
    assert len(both) > 2
    other = replace(batch, node_dense=batch.node_dense.index_fill(0, both, 7.0))
    torch.testing.assert_close(*(objective.losses(encoder, b, 3, 0).total for b in (batch, other)), rtol=0, atol=0)

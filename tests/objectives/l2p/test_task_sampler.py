"""Properties of L2P tasks over arbitrary graphs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.graph.batch import GraphBatch, select_graphs, slice_graphs
from distgnn.graph.schema import Schema
from distgnn.objectives.l2p.task_sampler import CHILD, NAME, QUERY, TaskBuilder
from tests.helpers.graphs import BARE, random_graphs

GRAPHS = st.builds(
    random_graphs,
    st.lists(st.integers(1, 12), min_size=1, max_size=6),
    st.just(BARE),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.3, 0.7, 1.0]),
)
REQUESTS = st.builds(TaskBuilder, st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))


def rows_of(graphs: GraphBatch, builder: TaskBuilder, g: int, epoch: int = 0) -> np.ndarray:
    extra = builder(graphs, 5, epoch)[NAME]
    return extra.values[int(extra.ptr[g]) : int(extra.ptr[g + 1])].numpy()


def edges_of(graphs: GraphBatch, g: int) -> set[frozenset[int]]:
    low, high, start = int(graphs.edge_ptr[g]), int(graphs.edge_ptr[g + 1]), int(graphs.node_ptr[g])
    return {frozenset(pair) for pair in (graphs.edges[:, low:high] - start).t().tolist()}


def with_edges(graph: GraphBatch, edges: torch.Tensor) -> GraphBatch:
    """A single graph with other edges."""
    count = edges.shape[1]
    none = torch.zeros(count, 0)
    return replace(graph, edges=edges, edge_ptr=torch.tensor([0, count]), edge_cat=none, edge_dense=none)


@settings(max_examples=60, deadline=None)
@given(GRAPHS, REQUESTS)
def test_edges_are_real_distinct_and_disjoint(graphs: GraphBatch, builder: TaskBuilder) -> None:
    for g in range(graphs.num_graphs):
        rows, real = rows_of(graphs, builder, g), edges_of(graphs, g)
        sampled = [frozenset(row[:2].tolist()) for row in rows]
        assert len(set(sampled)) == len(sampled)
        assert set(sampled) <= real


@settings(max_examples=60, deadline=None)
@given(GRAPHS, REQUESTS)
def test_small_graphs_have_smaller_tasks(graphs: GraphBatch, builder: TaskBuilder) -> None:
    for g in range(graphs.num_graphs):
        rows, edges = rows_of(graphs, builder, g), len(edges_of(graphs, g))
        children = min(builder.children, edges // 2)
        sizes = Counter(rows[:, CHILD].tolist())
        assert sorted(sizes) == list(range(children))
        assert all(2 <= size <= builder.support + builder.query for size in sizes.values())
        assert max(sizes.values(), default=0) - min(sizes.values(), default=0) <= 1
        if edges >= builder.children * (builder.support + builder.query):
            assert all(size == builder.support + builder.query for size in sizes.values())
            assert rows[:, QUERY].sum() == builder.children * builder.query
        for child in sizes:
            sides = rows[rows[:, CHILD] == child, QUERY]
            assert set(sides.tolist()) == {0, 1}
            assert (np.diff(sides) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(GRAPHS, REQUESTS)
def test_negatives_are_never_the_anchor_nor_its_neighbours(graphs: GraphBatch, builder: TaskBuilder) -> None:
    for g in range(graphs.num_graphs):
        nodes, real = int(graphs.node_ptr.diff()[g]), edges_of(graphs, g)
        degree = Counter(end for pair in real for end in pair)
        for u, v, negative, _, _ in rows_of(graphs, builder, g):
            if negative < 0:
                assert degree[u] == degree[v] == nodes - 1
            else:
                assert 0 <= negative < nodes
                assert negative != u
                assert frozenset((u, negative)) not in real


def test_negatives_cover_every_non_neighbour_evenly() -> None:
    """A star's leaves may be paired with every other leaf; over many epochs each comes about equally often."""
    star = random_graphs([7], BARE, density=0.0)
    edges = torch.tensor([[0] * 6, list(range(1, 7))])
    star = with_edges(star, edges)
    counts: Counter[tuple[int, int]] = Counter()
    for epoch in range(600):
        counts.update((int(r[0]), int(r[2])) for r in rows_of(star, TaskBuilder(1, 3, 3), 0, epoch))
    assert {u for u, _ in counts} == set(range(1, 7))
    assert len(counts) == 30
    assert min(counts.values()) > 70
    assert max(counts.values()) < 170


@settings(max_examples=30, deadline=None)
@given(GRAPHS, REQUESTS, st.randoms(use_true_random=False))
def test_tasks_do_not_depend_on_the_batch(graphs: GraphBatch, builder: TaskBuilder, random) -> None:
    order = list(range(graphs.num_graphs))
    random.shuffle(order)
    moved = select_graphs(graphs, torch.tensor(order))
    for place, g in enumerate(order):
        np.testing.assert_array_equal(rows_of(moved, builder, place), rows_of(graphs, builder, g))
        np.testing.assert_array_equal(rows_of(slice_graphs(graphs, g, g + 1), builder, 0), rows_of(graphs, builder, g))


def test_seed_and_epoch_change_the_tasks() -> None:
    graphs, builder = random_graphs([12], density=0.6), TaskBuilder(1, 3, 2)
    first = builder(graphs, 0, 0)[NAME].values
    assert torch.equal(first, builder(graphs, 0, 0)[NAME].values)
    assert not torch.equal(first, builder(graphs, 0, 1)[NAME].values)
    assert not torch.equal(first, builder(graphs, 1, 0)[NAME].values)


def test_directed_graphs_have_no_negatives_among_either_direction() -> None:
    edges = torch.tensor([[0, 1, 2, 3, 1], [1, 0, 1, 4, 2]])
    base = random_graphs([5], Schema(), density=0.0)
    graphs = replace(with_edges(base, edges), directed=True)
    joined = {frozenset(p) for p in edges.t().tolist()}
    for epoch in range(50):
        for u, _, negative, _, _ in rows_of(graphs, TaskBuilder(1, 3, 2), 0, epoch):
            assert negative >= 0
            assert negative != u
            assert frozenset((int(u), int(negative))) not in joined

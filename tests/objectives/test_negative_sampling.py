"""Sampled non-edges against plain sets."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.graph.batch import GraphBatch
from distgnn.graph.keyed import draw
from distgnn.objectives.negative_sampling import NonEdges
from tests.helpers.graphs import BARE, random_graphs

GRAPHS = st.builds(
    random_graphs,
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.just(BARE),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.3, 0.7, 1.0]),
)


def absent_pairs(graphs: GraphBatch, g: int) -> set[frozenset[int]]:
    """Node pairs of graph g, local, that no edge joins."""
    start, stop = graphs.node_ptr[g : g + 2].tolist()
    edges = {frozenset(pair) for pair in graphs.edges.t().tolist()}
    return {frozenset((u - start, v - start)) for u, v in combinations(range(start, stop), 2)} - {
        frozenset(end - start for end in pair) for pair in edges
    }


@settings(max_examples=80, deadline=None)
@given(GRAPHS, st.integers(0, 99), st.floats(0, 1))
def test_sampled_pairs_are_distinct_non_edges(graphs: GraphBatch, seed: int, share: float) -> None:
    non_edges = NonEdges(graphs)
    absent = [absent_pairs(graphs, g) for g in range(graphs.num_graphs)]
    assert non_edges.count.tolist() == [len(pairs) for pairs in absent]
    wanted = np.rint(non_edges.count * share).astype(np.int64)
    owner, u, v = non_edges.draw(draw(seed, np.arange(graphs.num_graphs)), wanted)
    for g in range(graphs.num_graphs):
        sampled = [frozenset(pair) for pair in zip(u[owner == g].tolist(), v[owner == g].tolist(), strict=True)]
        assert len(set(sampled)) == len(sampled) == wanted[g]
        assert set(sampled) <= absent[g]


def test_non_edges_are_sampled_uniformly_in_either_order() -> None:
    path = random_graphs([6], BARE, density=0.0)
    path = replace(
        path,
        edges=torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]),
        edge_ptr=torch.tensor([0, 4]),
        edge_cat=torch.zeros(4, 0, dtype=torch.int32),
        edge_dense=torch.zeros(4, 0),
    )
    non_edges, counts, together = NonEdges(path), Counter[tuple[int, int]](), set[frozenset[frozenset[int]]]()
    for seed in range(1100):
        _, u, v = non_edges.draw(draw(seed, 0), np.array([3]))
        counts.update(zip(u.tolist(), v.tolist(), strict=True))
        together.add(frozenset(map(frozenset, zip(u.tolist(), v.tolist(), strict=True))))
    pairs = Counter(
        {pair: sum(counts[ends] for ends in counts if set(ends) == pair) for pair in map(frozenset, counts)}
    )
    assert set(pairs) == absent_pairs(path, 0)
    assert len(counts) == 2 * len(pairs)
    assert min(pairs.values()) > 250  # of 300, give or take 15
    assert max(pairs.values()) < 350
    assert len(together) > 2 * len(pairs)  # more than the shift alone would give


def test_pairs_of_a_large_graph_are_exact() -> None:
    """Indices of pairs beyond 32 bits: the first and the last pairs of 70,000 nodes are exact."""
    nodes = 70_000
    graphs = random_graphs([1], BARE)
    cut = torch.tensor([[0, nodes - 2], [1, nodes - 1]])
    none = {"edge_cat": torch.zeros(2, 0), "edge_dense": torch.zeros(2, 0)}
    graphs = replace(graphs, node_ptr=torch.tensor([0, nodes]), edge_ptr=torch.tensor([0, 2]), edges=cut, **none)
    non_edges = NonEdges(graphs)
    assert non_edges.count[0] == nodes * (nodes - 1) // 2 - 2
    _, u, v = non_edges.draw(draw(0, 0), np.array([100_000]))
    low, high = np.minimum(u, v), np.maximum(u, v)
    assert (low < high).all()
    assert high.max() < nodes
    assert len(np.unique(low * nodes + high)) == 100_000


def test_directed_graphs_count_either_direction_and_no_loops() -> None:
    graphs = random_graphs([3], BARE, density=0.0)
    edges = torch.tensor([[0, 1, 2], [1, 0, 2]])
    none = {"edge_cat": torch.zeros(3, 0), "edge_dense": torch.zeros(3, 0)}
    non_edges = NonEdges(replace(graphs, edges=edges, edge_ptr=torch.tensor([0, 3]), directed=True, **none))
    _, u, v = non_edges.draw(draw(0, 0), non_edges.count)
    assert {frozenset(pair) for pair in zip(u.tolist(), v.tolist(), strict=True)} == {
        frozenset((0, 2)),
        frozenset((1, 2)),
    }

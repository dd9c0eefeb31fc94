"""The motifs source: labels match planted motifs, and graphs do not depend on the partition."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.corpus.sources.motifs import MOTIFS, MotifsConfig, MotifsSource
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, concat_graphs, slice_graphs


def make(low: int = 0, high: int = 60, **options: object) -> GraphBatch:
    return MotifsSource(MotifsConfig(out="", **options)).read((low, high))[0].graphs  # type: ignore[arg-type]


def test_labels_mark_the_planted_motifs() -> None:
    batch = make(high=200)
    assert batch.y is not None
    sizes = np.array([max(max(edge) for edge in edges) + 1 for edges in MOTIFS.values()])
    shapes = [nx.Graph(edges) for edges in MOTIFS.values()]
    for row in range(200):
        graph = slice_graphs(batch, row, row + 1)
        whole = nx.Graph(graph.edges.T.tolist())
        assert nx.is_connected(whole)
        assert whole.number_of_nodes() == graph.num_nodes
        assert whole.number_of_edges() == graph.num_edges
        blocks = [whole.subgraph(block) for block in nx.biconnected_components(whole) if len(block) > 2]
        found = [any(nx.is_isomorphic(shape, block) for block in blocks) for shape in shapes]
        planted = batch.y[row].bool().numpy()
        assert found == planted.tolist()
        assert len(blocks) == planted.sum()
        assert 12 <= graph.num_nodes - planted @ sizes <= 30


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, 59), seed=st.integers(0, 5))
def test_graphs_do_not_depend_on_the_partition(cut: int, seed: int) -> None:
    whole, pieces = make(seed=seed), concat_graphs([make(0, cut, seed=seed), make(cut, 60, seed=seed)])
    for name in ("graph_id", "edges", "node_cat", "node_ptr", "y"):
        assert torch.equal(getattr(whole, name), getattr(pieces, name)), name


def test_options_change_the_graphs() -> None:
    assert not torch.equal(make(seed=1).node_cat, make(seed=2).node_cat)
    assert make(nodes=(5, 5), plant=0.0).node_ptr.diff().unique().tolist() == [5]
    none, everything = make(plant=0.0).y, make(plant=1.0).y
    assert none is not None
    assert everything is not None
    assert (float(none.sum()), bool(everything.all())) == (0.0, True)
    scarce = make(high=1000, labelled=0.1).y
    assert scarce is not None
    assert 60 < int((~scarce.isnan().any(dim=1)).sum()) < 140
    assert torch.equal(scarce.isnan().any(dim=1), scarce.isnan().all(dim=1))
    assert [part[1] for part in MotifsSource(MotifsConfig(out="", graphs=5000)).parts()] == [4096, 5000]


def test_tree_neighbours_mostly_share_colours() -> None:
    batch = make(high=500, plant=0.0)
    same = (batch.node_cat[batch.edges[0], 0] == batch.node_cat[batch.edges[1], 0]).double().mean()
    assert 0.65 < float(same) < 0.85  # 0.7 + 0.3 / 8


@pytest.mark.parametrize("bad", [{"graphs": 0}, {"nodes": (9, 3)}, {"nodes": (5,)}, {"plant": 1.5}, {"labelled": -0.1}])
def test_invalid_configs_are_rejected(bad: dict[str, object]) -> None:
    with pytest.raises(RequestError, match=next(iter(bad))):
        MotifsConfig(out="x", **bad)  # type: ignore[arg-type]

"""Structural properties against networkx, and their prediction against plain loops."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch
from distgnn.graph.properties import clustering, degree, neighbours
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.objectives.build import build_objective
from distgnn.objectives.structure import NAME, Structure, StructureConfig
from tests.helpers.checks import assert_same_loss_and_gradient
from tests.helpers.graphs import BARE, MOLECULE, random_graphs, with_tasks

SIZES = [5, 1, 9, 2, 6, 14]
BOTH = ("degree", "clustering")


def slow_properties(graphs: GraphBatch) -> np.ndarray:
    """[N, 2]: log(1 + degree), clustering coefficient."""
    graph = nx.Graph()
    graph.add_nodes_from(range(graphs.num_nodes))
    graph.add_edges_from((u, v) for u, v in graphs.edges.t().tolist() if u != v)
    found = nx.clustering(graph)
    return np.array([[math.log(1 + graph.degree[n]), found[n]] for n in graph]).reshape(-1, 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 1000), st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_properties_against_networkx(sizes: list[int], seed: int, density: float) -> None:
    graphs = random_graphs(sizes, BARE, seed, density)
    joined, expected = neighbours(graphs), slow_properties(graphs)
    np.testing.assert_allclose(np.log1p(degree(joined)), expected[:, 0], rtol=1e-12)
    np.testing.assert_allclose(clustering(joined), expected[:, 1], rtol=1e-12)


def test_self_loops_duplicates_and_directions_are_ignored() -> None:
    edges = torch.tensor([[0, 1, 1, 2, 2, 0, 3], [1, 0, 2, 2, 0, 1, 2]])
    graphs = replace(random_graphs([5], BARE, density=0.0), edges=edges, directed=True)
    joined = neighbours(graphs)
    assert degree(joined).tolist() == [2, 2, 3, 1, 0]
    assert clustering(joined).tolist() == pytest.approx([1, 1, 1 / 3, 0, 0])


def build(properties: tuple[str, ...]) -> tuple[Encoder, Structure]:
    config = EncoderConfig(layers=2, width=6)
    request = PretrainConfig(
        "-", objective="structure", encoder=config, options={"structure": StructureConfig(properties)}
    )
    objective = build_objective(request, MOLECULE)
    assert isinstance(objective, Structure)
    return build_encoder(MOLECULE, config, 1).double(), objective.double()


def slow_loss(encoder: Encoder, objective: Structure, batch: GraphBatch, columns: list[int]) -> tuple[Tensor, Tensor]:
    """(loss, absolute errors [N, properties]) graph by graph."""
    truth = torch.from_numpy(slow_properties(batch)[:, columns].astype(np.float32)).double()
    error = objective.head(encoder(batch)) - truth
    parts = [error[int(low) : int(high)] for low, high in zip(batch.node_ptr, batch.node_ptr[1:], strict=False)]
    return torch.stack([part.square().mean() for part in parts]).sum(), error.abs()


@pytest.mark.parametrize("properties", [BOTH, ("degree",), ("clustering",), ("clustering", "degree")])
def test_equals_plain_loops(properties: tuple[str, ...]) -> None:
    encoder, objective = build(properties)
    batch = with_tasks(random_graphs(SIZES), objective.prepare, streams=[0, 3])
    found = objective.losses(encoder, batch, 3, 0)
    slow, errors = slow_loss(encoder, objective, batch, [BOTH.index(name) for name in properties])
    assert_same_loss_and_gradient(found.total, slow, encoder, objective)
    assert float(found.count) == len(SIZES)
    assert list(found.sums) == list(objective.metric_names) == [f"{name}_error" for name in properties]
    for name, column in zip(objective.metric_names, errors.t(), strict=True):
        assert float(found.sums[name][0]) == pytest.approx(float(column.detach().sum()))
        assert float(found.sums[name][1]) == sum(SIZES)


def test_complete_graphs_and_single_nodes() -> None:
    values = build(BOTH)[1].prepare(random_graphs([4, 1], density=1.0), 0, 0)[NAME].values
    expected = [[math.log(4), 1.0]] * 4 + [[0.0, 0.0]]
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("properties", "message"),
    [(("size",), "none of degree, clustering"), ((), "at least one"), (("degree", "degree"), "twice")],
)
def test_invalid_properties_are_refused(properties: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        StructureConfig(properties)

"""Readout by adapted weights: against a loop over graphs, without steps, in any batch, without labels."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from distgnn.graph.batch import GraphBatch, select_graphs, slice_graphs
from distgnn.graph.keyed import key
from distgnn.graph.purposes import PretrainDraw
from distgnn.models.encoder import Encoder
from distgnn.models.heads import plain_readout
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from distgnn.objectives.l2p.readout import AdaptedReadout
from tests.helpers.custom import STACKS, made
from tests.helpers.graphs import random_graphs
from tests.helpers.oracle import shifted
from tests.objectives.l2p.test_objective import SIZES, build

SEED = 5
BOTH = L2PConfig(node_steps=2, graph_steps=2, node_lr=0.3, graph_lr=0.3, support=4, query=2, children=2)


def evaluated(**options: Any) -> Encoder:
    """An encoder in evaluation mode whose running statistics are not those of a new one."""
    encoder = build(**options).eval()
    for name, values in encoder.named_buffers():
        values.add_(torch.linspace(0.1, 0.5, values.numel(), dtype=values.dtype).reshape(values.shape))
        assert "running" in name
    return encoder


def tasks_of(graph: GraphBatch) -> list[list[list[int]]]:
    """Support edges (u, v, v' or -1) of each child task of one graph."""
    rows = graph.extras["l2p"].values.tolist()
    return [[row[:3] for row in rows if row[3] == child and not row[4]] for child in {row[3] for row in rows}]


def node_loss(nodes: Tensor, graph: GraphBatch, config: L2PConfig) -> Tensor:
    total, scale = nodes.new_zeros(()), nodes.shape[1] ** -0.5 if config.scores == "scaled" else 1
    for child in tasks_of(graph):
        for u, v, other in child:
            loss = -logsigmoid(scale * nodes[u] @ nodes[v])
            loss = loss if other < 0 else loss - logsigmoid(-scale * nodes[u] @ nodes[other])
            total = total + (loss / len(child) if config.support_loss == "mean" else loss)
    return total


def pooled_of(encoder: Encoder, nodes: Tensor) -> Tensor:
    return encoder.pool(nodes, replace(random_graphs([len(nodes)]), node_ptr=torch.tensor([0, len(nodes)])))[0]


def graph_loss(encoder: Encoder, nodes: Tensor, graph: GraphBatch, config: L2PConfig) -> Tensor:
    scale = nodes.shape[1] ** -0.5 if config.scores == "scaled" else 1
    whole, total = pooled_of(encoder, nodes), nodes.new_zeros(())
    moved = whole[shifted(key(SEED, PretrainDraw.DIMENSIONS, 0, 0), int(graph.graph_id[0]), nodes.shape[1])]
    for child in tasks_of(graph):
        part = pooled_of(encoder, nodes[sorted({end for u, v, _ in child for end in (u, v)})])
        total = total - logsigmoid(scale * part @ whole) - logsigmoid(-scale * part @ moved)
    return total


def descend(loss: Tensor, named: list[tuple[str, torch.nn.Parameter]], lr: float) -> None:
    parameters = [parameter for _, parameter in named]
    found = torch.autograd.grad(loss, parameters, materialize_grads=True) if parameters else ()
    with torch.no_grad():
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter -= lr * gradient


def slow_readout(encoder: Encoder, graph: GraphBatch, config: L2PConfig) -> tuple[Tensor, Tensor]:
    """One graph with a copy of the encoder that gradient descent changes."""
    own = deepcopy(encoder)
    if graph.num_edges < 2:
        return plain_readout(own, graph)
    graph = replace(graph, extras=L2P(config).prepare(graph, SEED, 0))
    prior = own(graph).detach()
    kept = encoder.config.layers - config.adapted_layers if config.adapted_layers else 0
    psi = [
        (name, p)
        for name, p in own.psi.named_parameters()
        if not name.startswith("layers.") or int(name.split(".")[1]) >= kept
    ]
    lr = config.node_lr * (config.node_lr_width / encoder.width if config.node_lr_width else 1)
    for _ in range(config.node_steps if config.levels != "graph" else 0):
        descend(node_loss(own(graph), graph, config), psi, lr)
    for _ in range(config.graph_steps if config.levels != "node" else 0):
        descend(graph_loss(own, prior, graph, config), list(own.pooling.named_parameters()), config.graph_lr)
    return plain_readout(own, graph)


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, {}),
        ({}, {"node_steps": 1, "graph_steps": 1}),
        ({"kind": "gcn", "norm": "layer", "pooling": "attention"}, {"adapted_layers": 0}),
        ({"kind": "gat", "norm": "batch", "pooling": "sum"}, {"adapted_layers": 0, "support_loss": "sum"}),
        ({"kind": "sage", "norm": "graph", "jumping_knowledge": "concat"}, {"scores": "dot", "node_lr_width": 0}),
        ({"omega": False}, {}),
        ({"omega": False, "pooling": "attention"}, {}),
        ({}, {"levels": "node"}),
        ({}, {"levels": "graph"}),
        ({}, {"graph_steps": 0}),
        ({}, {"node_steps": 0}),
    ],
)
def test_equals_a_loop_over_graphs(options: dict[str, Any], changes: dict[str, Any]) -> None:
    encoder, config, batch = evaluated(**options), replace(BOTH, **changes), random_graphs(SIZES)
    nodes, pooled = AdaptedReadout(config, SEED)(encoder, batch)
    slow = [slow_readout(encoder, slice_graphs(batch, g, g + 1), config) for g in range(len(SIZES))]
    torch.testing.assert_close(nodes, torch.cat([one for one, _ in slow]), rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(pooled, torch.cat([one for _, one in slow]), rtol=1e-10, atol=1e-11)
    assert not nodes.requires_grad
    assert not pooled.requires_grad


@pytest.mark.parametrize("norm", ["ghost", "layer"])
@pytest.mark.parametrize("level", ["node_steps", "graph_steps"])
def test_each_level_changes_the_embeddings_of_graphs_with_tasks_only(norm: str, level: str) -> None:
    encoder, batch = evaluated(norm=norm), random_graphs(SIZES)
    config = replace(BOTH, **{"node_steps": 0, "graph_steps": 0, level: 1})
    changed = (AdaptedReadout(config, SEED)(encoder, batch)[1] - plain_readout(encoder, batch)[1]).norm(dim=1) > 1e-4
    assert changed.tolist() == (batch.edge_ptr.diff() >= 2).tolist()


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_no_steps_is_the_plain_readout_bit_for_bit(pooling: str) -> None:
    encoder, batch = evaluated(pooling=pooling).float(), random_graphs(SIZES)
    found = AdaptedReadout(replace(BOTH, node_steps=0, graph_steps=0), SEED)(encoder, batch)
    for one, other in zip(found, plain_readout(encoder, batch), strict=True):
        assert torch.equal(one, other)


def test_steps_of_length_zero_change_nothing() -> None:
    encoder, batch = evaluated(), random_graphs(SIZES)
    found = AdaptedReadout(replace(BOTH, node_lr=0.0, graph_lr=0.0), SEED)(encoder, batch)
    torch.testing.assert_close(found, plain_readout(encoder, batch), rtol=0, atol=1e-14)


def test_graphs_do_not_depend_on_the_batch() -> None:
    encoder, batch, readout = evaluated(), random_graphs(SIZES), AdaptedReadout(BOTH, SEED)
    _, whole = readout(encoder, batch)
    for order in ([4], [5, 0], [3, 1, 5, 4, 0, 2]):
        _, some = readout(encoder, select_graphs(batch, torch.tensor(order)))
        torch.testing.assert_close(some, whole[order], rtol=1e-12, atol=1e-13)


def test_it_is_a_function_of_the_seed_and_leaves_the_encoder_alone() -> None:
    encoder, batch = evaluated(), random_graphs(SIZES)
    before = deepcopy(encoder.state_dict())
    first, again, other = (AdaptedReadout(BOTH, seed)(encoder, batch)[1] for seed in (SEED, SEED, SEED + 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert all(torch.equal(before[name], values) for name, values in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_labels_are_not_read() -> None:
    encoder, batch = evaluated(), random_graphs(SIZES)
    labelled = replace(batch, y=torch.randn(len(SIZES), 2))
    for one, other in zip(*(AdaptedReadout(BOTH, SEED)(encoder, some) for some in (batch, labelled)), strict=True):
        assert torch.equal(one, other)


def test_graphs_without_tasks_are_read_out_plainly() -> None:
    encoder, batch = evaluated(), random_graphs([1, 2, 1], density=1.0)
    torch.testing.assert_close(AdaptedReadout(BOTH, SEED)(encoder, batch), plain_readout(encoder, batch))


def test_the_order_of_pre_training_does_not_matter() -> None:
    encoder, batch = evaluated(), random_graphs(SIZES)
    first, second = (AdaptedReadout(replace(BOTH, order=order), SEED)(encoder, batch)[1] for order in (1, 2))  # pyright: ignore[reportArgumentType]
    assert torch.equal(first, second)


@pytest.mark.parametrize("kind", ["gin", "sage", "gat"])
def test_modules_written_for_pyg_adapt_too(kind: str) -> None:
    encoder, config, batch = made(STACKS[kind]).eval(), replace(BOTH, node_lr=0.05), random_graphs(SIZES)
    twin = deepcopy(encoder)  # the module cannot be copied once it has seen a batch
    _, pooled = AdaptedReadout(config, SEED)(encoder, batch)
    config = replace(config, adapted_layers=0)  # such a module always adapts as a whole
    slow = [slow_readout(twin, slice_graphs(batch, g, g + 1), config)[1] for g in range(len(SIZES))]
    torch.testing.assert_close(pooled, torch.cat(slow), rtol=1e-10, atol=1e-11)
    assert not torch.allclose(pooled, plain_readout(encoder, batch)[1])

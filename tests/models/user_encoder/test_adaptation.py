"""User encoders: each graph adapts as with its own copy of the weights, and streams are independent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch.func import functional_call

from distgnn.config import EncoderConfig
from distgnn.graph.batch import GraphBatch, slice_graphs
from distgnn.graph.schema import Schema
from distgnn.models.batch_context import Context
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.models.fast_weights import FastWeights
from distgnn.models.norm import apply_statistics, statistics
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from tests.helpers.custom import SIZES, STACKS, WIDTH, Recurrent, Stack, bare, gathered, gin, made, tasks
from tests.helpers.graphs import BARE, MOLECULE, random_graphs
from tests.helpers.oracle import Oracle


class Copies(Oracle):
    """The oracle with node embeddings computed graph by graph, each with its copy of the weights."""

    def __init__(self, encoder: Encoder, batch: GraphBatch, config: L2PConfig, seed: int, epoch: int) -> None:
        super().__init__(encoder, batch, config, seed, epoch)
        self.forward = self._each_alone  # pyright: ignore[reportAttributeAccessIssue]

    def _each_alone(self, copies: list[dict[str, Tensor]]) -> Tensor:
        rows, inputs = [], self.encoder.embed(self.batch)
        for g, weights in enumerate(copies):
            graph = slice_graphs(self.batch, g, g + 1)
            nodes = inputs[int(self.batch.node_ptr[g]) : int(self.batch.node_ptr[g + 1])]
            context = Context(graph, self.encoder.schema, torch.float64)
            rows.append(functional_call(self.encoder.psi, weights, (nodes, context, None, None)))
        return torch.cat(rows)


def gradients(encoder: Encoder, total: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*encoder.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(total, parameters, materialize_grads=True), strict=True))


def assert_same(encoder: Encoder, found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    actual, expected = gradients(encoder, found), gradients(encoder, wanted)
    for name, gradient in actual.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-8, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("kind", STACKS)
def test_adaptation_equals_that_of_separate_copies(kind: str, order: Any) -> None:
    encoder = made(STACKS[kind])
    raw = kind == "raw"  # without norms; and torch has no second derivative of a look-up of nothing, which copies need
    config = L2PConfig.paper(node_steps=2, node_lr=0.001 if raw else 0.05, graph_lr=0.001, order=order)
    batch = tasks(config, bare=not raw)
    encoder.psi.rehearse(order)
    found = L2P(config).losses(encoder, batch, 3, 0).total
    assert_same(encoder, found, Copies(encoder, batch, config, 3, 0).total())
    frozen = L2P(replace(config, node_lr=0.0)).losses(encoder, batch, 3, 0).total
    assert float((found - frozen).detach().abs()) > 1e-4


@pytest.mark.parametrize("kind", ["gin", "gcn", "gat", "plain"])
def test_corpora_without_features_and_batches_without_edges(kind: str) -> None:
    encoder = made(STACKS[kind], BARE)
    config = L2PConfig.paper(node_lr=0.05)
    batch = tasks(config, BARE)
    assert_same(encoder, L2P(config).losses(encoder, batch, 3, 0).total, Copies(encoder, batch, config, 3, 0).total())
    empty = random_graphs([1, 3, 1], BARE, density=0.0)
    assert encoder(empty).shape == (5, WIDTH)


def test_directed_graphs() -> None:
    schema = replace(MOLECULE, directed=True)
    encoder, config = made(STACKS["gat"], schema), L2PConfig.paper(node_lr=0.05)
    batch = replace(tasks(config, schema), directed=True)
    encoder.psi.rehearse(2)
    assert_same(encoder, L2P(config).losses(encoder, batch, 3, 0).total, Copies(encoder, batch, config, 3, 0).total())


class OwnGin(nn.Module):
    """The built-in gin layers, written for PyG."""

    def __init__(self, _: Schema, config: EncoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(gin(config.width, train_eps=False) for _ in range(config.layers))
        for layer in self.layers:
            layer.nn[0].bias = None  # a batch norm follows

    def forward(self, edge_index: Tensor, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            x = layer(x, edge_index) if not number else layer(x.relu(), edge_index)
        return x


@pytest.mark.parametrize("adaptation", ["graph", "batch"])
def test_equals_the_built_in_gin_with_several_graphs_per_stream(adaptation: Any) -> None:
    expected = made(OwnGin, BARE, layers=2)
    actual = build_encoder(BARE, EncoderConfig(width=WIDTH, layers=2), seed=1).double().train()
    with torch.no_grad():
        for parameter, other in zip(actual.parameters(), expected.parameters(), strict=True):
            other.copy_(parameter)
    config = L2PConfig.paper(adaptation=adaptation, node_steps=2, node_lr=0.05)
    batch = tasks(config, BARE, streams=[0, 2])
    totals = [L2P(config).losses(encoder, batch, 3, 0).total for encoder in (expected, actual)]
    torch.testing.assert_close(totals[0], totals[1], rtol=1e-10, atol=1e-10)
    for parameter, other in zip(
        gradients(actual, totals[1]).values(), gradients(expected, totals[0]).values(), strict=True
    ):
        torch.testing.assert_close(other, parameter, rtol=1e-8, atol=1e-9)
    sums = [statistics(encoder) for encoder in (expected, actual)]
    torch.testing.assert_close(sums[0], sums[1])
    for encoder, total in zip((expected, actual), sums, strict=True):
        apply_statistics(encoder, total)
    torch.testing.assert_close(expected.eval()(batch), actual.eval()(batch), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("adaptation", ["graph", "batch"])
@pytest.mark.parametrize("kind", ["gin", "plain", "gat", "messages"])
def test_a_batch_gives_the_sum_of_its_streams(kind: str, adaptation: Any) -> None:
    encoder = made(STACKS[kind])
    config = L2PConfig.paper(adaptation=adaptation, node_lr=0.05)
    batch = tasks(config, streams=[0, 2, 2])  # the second stream has no graphs
    objective = L2P(config)
    parts = [
        replace(slice_graphs(batch, low, high), stream_ptr=torch.tensor([0, high - low]))
        for low, high in ((0, 2), (2, 5))
    ]
    whole, sums = objective.losses(encoder, batch, 3, 0).total, statistics(encoder)
    alone = [(objective.losses(encoder, part, 3, 0).total, statistics(encoder)) for part in parts]
    assert_same(encoder, whole, alone[0][0] + alone[1][0])
    torch.testing.assert_close(sums, alone[0][1] + alone[1][1])


@pytest.mark.parametrize("kind", ["plain", "gatv2"])
def test_adaptation_without_messages(kind: str) -> None:
    encoder, batch = made(STACKS[kind]), random_graphs([2, 1, 3], density=0.0)
    context = encoder.context(replace(batch, stream_ptr=torch.arange(4)))
    fast = FastWeights(context.nodes, 0.1, order=2)
    fast.step(encoder(context, fast).square().sum())
    copies = []
    for g in range(3):
        graph = slice_graphs(batch, g, g + 1)
        weights = dict(encoder.psi.named_parameters())
        loss = encoder(graph).square().sum()
        steps = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        stepped = {f"psi.{name}": p - 0.1 * step for (name, p), step in zip(weights.items(), steps, strict=True)}
        copies.append(functional_call(encoder, stepped, (graph,)))
    torch.testing.assert_close(encoder(context, fast), torch.cat(copies))


def test_per_stream_passes_equal_a_joint_pass() -> None:
    encoder = made(STACKS["plain"])
    batch = replace(random_graphs(SIZES), stream_ptr=torch.tensor([0, 2, 5]))
    context = encoder.context(batch, torch.arange(batch.num_edges) % 3 == 0)
    fast = FastWeights(context.streams, 0.1, order=2)
    torch.testing.assert_close(encoder(context, fast), encoder(context))


def test_failed_pass_restores_the_module() -> None:
    encoder, batch = made(STACKS["gat"]), random_graphs(SIZES)
    context, module = encoder.context(batch), encoder.psi.get_submodule("module")
    fast = FastWeights(context.nodes, 0.1, order=2)
    module.get_submodule("first.lin_edge").register_forward_pre_hook(lambda _, args: (args[0][:, :3],))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        encoder(context, fast)
    convolutions = [module.get_submodule(name) for name in ("first", "second")]
    assert not any("att_src" in vars(conv) for conv in convolutions)
    assert not any(conv._propagate_forward_pre_hooks for conv in convolutions)


def test_dropout_of_fine_tuning() -> None:
    encoder, batch = made(STACKS["gat"]), random_graphs(SIZES)
    encoder.set_dropout(0.5)
    assert float((encoder(batch) == 0).double().mean()) > 0.3
    encoder.eval()
    assert torch.equal(encoder(batch), encoder(batch))


def test_shared_norm_is_replaced_once() -> None:
    shared = nn.BatchNorm1d(WIDTH)
    encoder = made(lambda _, config: Stack([pyg.GCNConv(config.width, config.width) for _ in "ab"], [shared, shared]))
    norms = encoder.psi.get_submodule("module.norms")
    assert norms[0] is norms[1]  # pyright: ignore[reportIndexIssue]
    encoder.psi.rehearse(2)


def test_any_module_adapts_per_stream() -> None:
    encoder, config = made(Recurrent), L2PConfig.paper(adaptation="batch", node_lr=0.05)
    encoder.psi.rehearse(0)
    batch = tasks(config)  # where every stream is one graph, its weights are the graph's
    total = L2P(config).losses(encoder, batch, 3, 0).total
    wanted = Copies(encoder, batch, replace(config, adaptation="graph"), 3, 0).total()
    assert_same(encoder, total, wanted)


def test_module_without_weights() -> None:
    encoder, config = (
        made(bare(lambda x, edge_index: gathered(x, edge_index, x[edge_index[0]]))),
        L2PConfig.paper(node_lr=0.05),
    )
    encoder.psi.rehearse(2)
    batch = tasks(config)
    totals = [L2P(replace(config, node_lr=lr)).losses(encoder, batch, 3, 0).total for lr in (0.0, 0.05)]
    assert torch.equal(*totals)


def test_initial_weights_depend_on_the_seed_also_for_lazy_modules() -> None:
    def lazy(_: Schema, config: EncoderConfig) -> nn.Module:
        return Stack([pyg.SAGEConv(-1, config.width)], [nn.BatchNorm1d(config.width)])

    first = made(lazy).state_dict()
    config = EncoderConfig(kind="mine", width=WIDTH)
    again, other = (build_encoder(MOLECULE, config, seed).double().state_dict() for seed in (1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["psi.module.convs.0.lin_l.weight"], other["psi.module.convs.0.lin_l.weight"])

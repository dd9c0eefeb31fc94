"""Network encoders: sampled subgraphs against the full network, and layers against references."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn import functional as F
from torch_geometric.nn import HGTConv

from distgnn import register
from distgnn.config import EncoderConfig, NetworkTaskConfig, from_json, to_json
from distgnn.config.fields import plain_fields
from distgnn.errors import RequestError
from distgnn.models.dropout import Masks
from distgnn.models.gin import GINLayer
from distgnn.models.hgt import HGT
from distgnn.models.network_encoder import NetworkEncoder, NodeInputs, SubgraphBatch, build_network_encoder
from distgnn.models.ops.sparse import SparseMap
from distgnn.network.csr import Edges, both_ways, build_network
from distgnn.network.network import Network, Relation, SampledSubgraph
from distgnn.network.sample import full_block, sample_block
from tests.helpers.networks import films, papers, slow_block

KINDS = ("gcn", "gat", "gin", "sage", "hgt", "lightgcn")
NETWORK = papers()
ALL = np.arange(NETWORK.num_nodes)


def encoder_of(network: Network, kind: str, **options: object) -> NetworkEncoder:
    config = NetworkTaskConfig(**{"encoder": kind, "width": 8, "heads": 2} | options)  # pyright: ignore[reportArgumentType]
    return build_network_encoder(network, config, 0).double()


def cut_of(network: Network, block: SampledSubgraph) -> SubgraphBatch:
    return SubgraphBatch(NodeInputs(network), block)


ENCODERS = {kind: encoder_of(NETWORK, kind) for kind in KINDS}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 33), min_size=1, max_size=6), st.sampled_from(KINDS), st.integers(0, 3))
def test_embedding_does_not_depend_on_other_queried_nodes(seeds: list[int], kind: str, fan_out: int) -> None:
    part, whole = (cut_of(NETWORK, sample_block(NETWORK, queried, 2, fan_out, key=5)) for queried in (seeds, ALL))
    torch.testing.assert_close(ENCODERS[kind](part), ENCODERS[kind](whole)[seeds], rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_subgraph_equals_the_full_network(kind: str) -> None:
    seeds = [33, 0, 21, 0]
    found = ENCODERS[kind](cut_of(NETWORK, slow_block(NETWORK, seeds, 2)))
    torch.testing.assert_close(found, ENCODERS[kind](cut_of(NETWORK, full_block(NETWORK)))[seeds], rtol=0, atol=1e-13)
    assert found.shape == (4, 8)
    assert found.dtype == torch.float64


def test_norm_jumping_knowledge_and_residuals_are_those_of_corpora() -> None:
    """Two layers of the same weights, layer by layer."""
    block = full_block(NETWORK)
    cut, options = cut_of(NETWORK, block), {"norm": "layer", "jumping_knowledge": "concat", "residual": True}
    encoder = encoder_of(NETWORK, "gcn", **options)
    psi: Any = encoder.psi
    x = encoder.embed(cut)
    adjacency = cut.context(x.dtype).neighbours("gcn")
    first = psi.layers[0].linear(adjacency(x))
    first = x + F.relu(psi.layers[0].norm.scale(F.layer_norm(first, (8,))))
    second = first + psi.layers[1].linear(adjacency(first))
    wanted = psi.project(torch.cat([first, second], dim=1))[block.seed]
    torch.testing.assert_close(encoder(cut), wanted, rtol=0, atol=1e-12)
    found = [encoder_of(NETWORK, "gin", **{name: value})(cut) for name, value in options.items()]
    found += [encoder_of(NETWORK, "gin")(cut), encoder_of(NETWORK, "gin", width=4)(cut)]
    assert len({float(one.detach().sum()) for one in found}) == 5


@pytest.mark.parametrize("kind", ["gcn", "gin"])
def test_layers_with_all_options_do_not_depend_on_other_queried_nodes(kind: str) -> None:
    encoder = encoder_of(NETWORK, kind, norm="layer", jumping_knowledge="max", residual=True)
    part, whole = (cut_of(NETWORK, sample_block(NETWORK, queried, 2, 2, key=5)) for queried in ([21, 3], ALL))
    torch.testing.assert_close(encoder(part), encoder(whole)[[21, 3]], rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", ["hgt", "lightgcn"])
@pytest.mark.parametrize("option", [{"norm": "layer"}, {"jumping_knowledge": "sum"}, {"residual": True}])
def test_other_encoders_have_no_options_of_layers(kind: str, option: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=f"not of encoder={kind}"):
        encoder_of(NETWORK, kind, **option)


def test_heads_of_hgt_divide_its_width() -> None:
    with pytest.raises(RequestError, match=r"multiple of network.heads=4"):
        encoder_of(NETWORK, "hgt", width=10, heads=4)


def test_lightgcn_is_the_mean_of_propagated_inputs() -> None:
    """It has no parameters but the inputs'."""
    block, encoder = full_block(NETWORK), encoder_of(NETWORK, "lightgcn", layers=3)
    cut = cut_of(NETWORK, block)
    x, adjacency = encoder.embed(cut), np.eye(NETWORK.num_nodes)
    np.add.at(adjacency, (block.target, block.source), 1)
    scale = 1 / np.sqrt(adjacency.sum(1))
    step = torch.from_numpy(scale[:, None] * adjacency * scale)
    wanted = (x + step @ x + step @ step @ x + step @ step @ step @ x) / 4
    torch.testing.assert_close(encoder(cut), wanted[block.seed], rtol=0, atol=1e-13)
    assert not list(encoder.psi.parameters())


def test_a_registered_layer_is_used_on_networks() -> None:
    register.encoder("mine")(type("Mine", (GINLayer,), {}))
    cut = cut_of(NETWORK, full_block(NETWORK))
    torch.testing.assert_close(encoder_of(NETWORK, "mine")(cut), ENCODERS["gin"](cut), rtol=0, atol=0)


@dataclass(frozen=True)
class PowerConfig:
    """Options of a layer."""

    power: int = 1
    """A power."""


def test_options_of_a_registered_layer_reach_networks() -> None:
    class Power(GINLayer):
        def __init__(self, config: EncoderConfig, edge_width: int, last: bool) -> None:
            super().__init__(config, edge_width, last)
            self.power = config.mine.power

    register.encoder("mine", PowerConfig)(Power)
    assert encoder_of(NETWORK, "mine").psi.layers[0].power == 1
    assert encoder_of(NETWORK, "mine", options={"mine": PowerConfig(3)}).psi.layers[0].power == 3
    read = from_json(NetworkTaskConfig, {"encoder": "mine", "mine": {"power": 4}})
    assert build_network_encoder(NETWORK, read, 0).psi.layers[1].power == 4
    assert to_json(read)["mine"] == {"power": 4}


def test_saved_configs_have_the_same_fields() -> None:
    """Encoders without options add none."""
    data = to_json(NetworkTaskConfig())
    assert set(data) == {item.name for item in plain_fields(NetworkTaskConfig)} | {"random_walks"}
    assert to_json(from_json(NetworkTaskConfig, data | {"encoder": "hgt"})) == data | {"encoder": "hgt"}


def test_a_module_for_whole_graphs_is_refused() -> None:
    register.encoder("whole")(nn.Identity)
    with pytest.raises(RequestError, match=r"network.encoder=whole is a module that reads whole graphs"):
        encoder_of(NETWORK, "whole")


def test_unknown_encoder() -> None:
    with pytest.raises(RequestError, match=r"network.encoder.*gim.*gin"):
        encoder_of(NETWORK, "gim")


def test_gcn_normalises_by_degrees_in_the_sampled_network() -> None:
    block, encoder = sample_block(NETWORK, ALL, 2, 2, key=1), encoder_of(NETWORK, "gcn", layers=1)
    x = encoder.embed(cut_of(NETWORK, block))
    adjacency = np.eye(NETWORK.num_nodes)
    np.add.at(adjacency, (block.target, block.source), 1)
    scale = 1 / np.sqrt(adjacency.sum(1))
    wanted = torch.from_numpy(scale[:, None] * adjacency * scale) @ x
    layer = dict(encoder.psi.named_parameters())
    weight, bias = layer["layers.0.linear.weight"], layer["layers.0.linear.bias"]
    rim = encoder(cut_of(NETWORK, sample_block(NETWORK, [3], 1, 2, key=1)))
    torch.testing.assert_close(rim[0], (wanted @ weight.t() + bias)[3], rtol=0, atol=1e-13)


def test_inputs_are_features_or_embeddings() -> None:
    encoder, cut = ENCODERS["gcn"], cut_of(NETWORK, slow_block(NETWORK, [21, 2, 31], 0))
    state = encoder.state_dict()
    paper = torch.from_numpy(NETWORK.features["paper"]).double()[2]
    wanted = [
        paper @ state["embed.types.0.weight"].t() + state["embed.types.0.bias"],
        state["embed.types.1.weight"][1],
        state["embed.types.2.weight"][1],
    ]
    torch.testing.assert_close(encoder.embed(cut), torch.stack(wanted))
    assert cut.counts == [1, 1, 1]
    assert state["embed.types.1.weight"].shape == (10, 8)


def test_mostly_zero_features_are_stored_sparse() -> None:
    values = np.random.default_rng(0).normal(size=(20, 40)).astype(np.float32)
    values[np.random.default_rng(1).random(values.shape) > 0.05] = 0
    network = replace(NETWORK, features={"paper": values})
    block = sample_block(network, [3, 17, 25], 1, 0, key=0)
    encoder, cut = encoder_of(network, "gcn"), cut_of(network, block)
    assert isinstance(cut.inputs[0], SparseMap)
    first = encoder.embed.types[0]
    assert isinstance(first, nn.Linear)
    wanted = first(torch.from_numpy(values[block.node[: cut.counts[0]]]).double())
    torch.testing.assert_close(encoder.embed(cut)[: cut.counts[0]], wanted)


@pytest.mark.parametrize("network", [papers(), films()])
def test_hgt_equals_pyg(network: Network) -> None:
    actual = encoder_of(network, "hgt")
    assert isinstance(actual.psi, HGT)
    cut = cut_of(network, full_block(network))
    ends = [(r.source, f"r{number}", r.target) for number, r in enumerate(network.relations)]
    nodes = dict(zip(network.types, torch.tanh(actual.embed(cut)).split(cut.counts), strict=True))
    start = dict(zip(network.types, network.type_ptr.tolist(), strict=False))
    edges = {}
    for number, triple in enumerate(ends):
        mine = cut.relation == number
        edges[triple] = torch.stack([cut.source[mine] - start[triple[0]], cut.target[mine] - start[triple[2]]])
    for layer in actual.psi.layers:
        reference = HGTConv(8, 8, (list(network.types), ends), heads=2).double()
        values = list(layer.state_dict().values())
        reference.load_state_dict(dict(zip(reference.state_dict(), values, strict=True)))
        found = reference(nodes, edges)
        nodes = {kind: found.get(kind, nodes[kind]) for kind in nodes}
    torch.testing.assert_close(actual(cut), torch.cat(list(nodes.values())), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_queried_nodes_of_hgt_equal_those_of_all_layers_on_all_nodes(layers: int, dropout: float) -> None:
    encoder = encoder_of(NETWORK, "hgt", layers=layers, dropout=dropout)
    cut, psi = cut_of(NETWORK, sample_block(NETWORK, [0, 5, 22, 0], layers, 0, key=0)), encoder.psi
    assert isinstance(psi, HGT)
    messages, masks = (cut.source, cut.target, cut.relation), Masks(dropout, 3, cut.node) if dropout else None
    whole = cut.seeds(psi(encoder.embed(cut), cut.counts, messages, masks))
    part = psi.queried(encoder.embed(cut), cut.counts, messages, masks, cut.seeds)
    torch.testing.assert_close(part, whole, rtol=0, atol=1e-13)
    slopes = [
        torch.autograd.grad(found.square().sum(), list(encoder.parameters()), materialize_grads=True)
        for found in (part, whole)
    ]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)


def test_hgt_depends_on_relations_and_gcn_does_not() -> None:
    same = tuple(both_ways(Edges(Relation(name, "a", "a"), np.array([0]), np.array([1])))[0] for name in "xy")
    network = build_network({"a": 3}, [*same, Edges(Relation("z", "a", "a"), np.array([2]), np.array([0]))])
    swapped = cut_of(network, full_block(network))
    swapped.relation = torch.where(swapped.relation == 0, 2, swapped.relation)
    for kind, differs in (("hgt", True), ("gcn", False)):
        encoder = encoder_of(network, kind)
        assert torch.allclose(encoder(swapped), encoder(cut_of(network, full_block(network)))) != differs


@pytest.mark.parametrize("kind", KINDS)
def test_isolated_nodes_and_empty_queries(kind: str) -> None:
    alone = encoder_of(NETWORK, kind)(cut_of(NETWORK, sample_block(NETWORK, [19, 29], 2, 0, key=0)))
    assert torch.isfinite(alone).all()
    assert ENCODERS[kind](cut_of(NETWORK, sample_block(NETWORK, [], 2, 0, key=0))).shape == (0, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_mode_equals_backward(kind: str) -> None:
    encoder, cut = ENCODERS[kind], cut_of(NETWORK, sample_block(NETWORK, [0, 5, 22], 2, 3, key=0))
    parameters = dict(encoder.named_parameters())
    away = {name: torch.cos(torch.arange(p.numel()).double()).view_as(p) for name, p in parameters.items()}
    with forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(p.detach(), away[name]) for name, p in parameters.items()}
        forward = forward_ad.unpack_dual(functional_call(encoder, duals, (cut,)).square().sum()).tangent
    grads = torch.autograd.grad(encoder(cut).square().sum(), list(parameters.values()), materialize_grads=True)
    backward = sum((g * away[name]).sum() for name, g in zip(parameters, grads, strict=True))
    torch.testing.assert_close(forward, backward)


def test_initial_weights_depend_on_the_seed_only() -> None:
    before = torch.random.get_rng_state()
    config = NetworkTaskConfig(width=8)
    first, again, other = (build_network_encoder(NETWORK, config, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embed.types.1.weight"], other["embed.types.1.weight"])


@pytest.mark.parametrize("kind", ["gcn", "hgt"])
def test_layers_width_and_dropout_take_effect(kind: str) -> None:
    encoder, cut = encoder_of(NETWORK, kind, layers=3, dropout=0.5), cut_of(NETWORK, slow_block(NETWORK, [0], 3))
    assert len(list(encoder.psi.layers)) == encoder.hops == 3
    torch.manual_seed(0)
    assert not torch.equal(encoder(cut), encoder(cut))
    encoder.eval()
    assert torch.equal(encoder(cut), encoder(cut))


BAD = [
    ({"layers": 0}, "network.layers must be at least 1"),
    ({"fan_out": -1}, "network.fan_out must not be negative"),
    ({"aux_batch": 0}, "network.aux_batch must be at least 1"),
    ({"width": 1}, "network.width"),
    ({"dropout": 1.0}, r"network.dropout must lie in \[0, 1\)"),
    ({"removed": 0.0}, "network.removed"),
    ({"fractions": (0.6, 0.4, 0.0)}, "three positive shares"),
    ({"fractions": (0.6, 0.3, 0.3)}, "add up to 1"),
    ({"auxiliary": ("edge_generation", "edge_generation")}, "twice"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_invalid_options_are_rejected(options: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        NetworkTaskConfig(**options)  # pyright: ignore[reportArgumentType]

"""Layers against PyG and torch, derivatives of sparse maps, and batches against single graphs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv

from distgnn import register
from distgnn.config import EncoderConfig
from distgnn.graph.batch import GraphBatch, message_edges, slice_graphs
from distgnn.graph.pyg import from_pyg, to_pyg
from distgnn.graph.schema import Schema
from distgnn.models.batch_context import Context
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.models.norm import Norm, apply_statistics, statistics
from distgnn.models.ops import attention
from distgnn.models.ops.segments import Padding, Segments
from distgnn.models.ops.sparse import SparseMap
from tests.helpers import custom
from tests.helpers.graphs import BARE, MOLECULE, permute_nodes, random_graphs

SIZES = [3, 1, 8, 20, 5]


def small(schema: Schema = MOLECULE, **changes: object) -> Encoder:
    config = replace(EncoderConfig(layers=3, width=8), **changes)  # pyright: ignore[reportArgumentType]
    return build_encoder(schema, config, 0).double()


def trained(encoder: Encoder) -> Encoder:
    """Return the encoder in evaluation mode, with running statistics other than the initial ones."""
    for seed in range(3):
        encoder.train()
        encoder(random_graphs(SIZES, encoder.schema, seed))
        apply_statistics(encoder, statistics(encoder))
    return encoder.eval()


def random_state(graphs: GraphBatch, width: int) -> Tensor:
    return torch.randn(graphs.num_nodes, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def one_layer(kind: Any, schema: Schema = BARE, **options: Any) -> tuple[Any, GraphBatch, Context]:
    """Return (a last layer, which has no norm, graphs of several shapes, their context)."""
    encoder = small(schema, kind=kind, layers=1, **options)
    graphs = random_graphs(SIZES, schema)
    return encoder.psi.layers[0], graphs, encoder.context(graphs)


def test_gin_layer_equals_pyg() -> None:
    layer, graphs, context = one_layer("gin", norm="layer")
    mlp = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 8))
    published = GINConv(mlp).double()  # draws new weights for mlp
    state = layer.state_dict()
    names = {"0": "lift", "1": "norm.scale", "3": "project"}
    mlp.load_state_dict({key: state[f"{names[key[0]]}.{key[2:]}"] for key in mlp.state_dict()})
    x = random_state(graphs, 8)
    torch.testing.assert_close(layer(x, context), published(x, message_edges(graphs)[0]))


def directed(graphs: GraphBatch) -> GraphBatch:
    """Keep one direction of every edge, and add a self-loop."""
    edges = graphs.edges.clone()
    edges[1, -1] = edges[0, -1]
    return replace(graphs, edges=edges, directed=True)


@pytest.mark.parametrize("turn", [lambda graphs: graphs, directed])
def test_gcn_layer_equals_pyg(turn: Any) -> None:
    layer, graphs, _ = one_layer("gcn")
    graphs, published = turn(graphs), GCNConv(8, 8).double()
    published.load_state_dict({"lin.weight": layer.linear.weight, "bias": layer.linear.bias})
    x = random_state(graphs, 8)
    actual = layer(x, Context(graphs, BARE, torch.float64))
    torch.testing.assert_close(actual, published(x, message_edges(graphs)[0]))


@pytest.mark.parametrize("turn", [lambda graphs: graphs, directed])
def test_sage_layer_equals_pyg(turn: Any) -> None:
    layer, graphs, _ = one_layer("sage")
    graphs, published = turn(graphs), SAGEConv(8, 8).double()
    neighbours, own = layer.linear.weight.chunk(2, dim=1)
    published.load_state_dict({"lin_l.weight": neighbours, "lin_l.bias": layer.linear.bias, "lin_r.weight": own})
    x = random_state(graphs, 8)
    actual = layer(x, Context(graphs, BARE, torch.float64))
    torch.testing.assert_close(actual, published(x, message_edges(graphs)[0]))


@pytest.mark.parametrize("turn", [lambda graphs: graphs, directed])
@pytest.mark.parametrize("heads", [1, 3])
def test_gat_layer_equals_pyg(heads: int, turn: Any) -> None:
    layer, graphs, _ = one_layer("gat", heads=heads)
    graphs, published = turn(graphs), GATConv(8, 8, heads=heads, concat=False).double()
    source, target = layer.score.weight.unsqueeze(1).unbind()
    weights = {"att_src": source, "att_dst": target, "bias": layer.shift.bias, "lin.weight": layer.linear.weight}
    published.load_state_dict(weights)
    x = random_state(graphs, 8)
    actual = layer(x, Context(graphs, BARE, torch.float64))
    torch.testing.assert_close(actual, published(x, message_edges(graphs)[0]))


@pytest.mark.parametrize("density", [0.02, 1.0])
def test_dense_attention_equals_gathered_attention(density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = random_graphs([40, 1, 3, 9, 30], density=density)
    encoder = small(kind="gat")
    outputs = []
    for most in (0, 10**9):
        monkeypatch.setattr(attention, "_MOST_SLOTS", most)
        nodes = encoder(graphs)
        outputs.append([nodes, *torch.autograd.grad(nodes.sin().sum(), list(encoder.psi.parameters()))])
    for actual, published in zip(*outputs, strict=True):
        torch.testing.assert_close(actual, published)


def test_softmax_within_groups() -> None:
    rows, scores = Segments(torch.tensor([0, 3, 3, 4])), torch.tensor([[1e4, 0.0], [1e4, 1.0], [-1e4, 2.0], [5.0, 5.0]])
    expected = torch.cat([scores[:3].softmax(0), torch.ones(1, 2)])
    torch.testing.assert_close(rows.softmax(scores), expected)


@pytest.mark.parametrize("kind", ["gin", "gcn", "sage", "gat"])
def test_layers_do_not_see_attributes_of_hidden_edges(kind: str) -> None:
    encoder, graphs = small(kind=kind), random_graphs(SIZES)
    hidden = torch.arange(graphs.num_edges) % 3 == 0
    other = replace(
        graphs,
        edge_cat=torch.where(hidden.unsqueeze(1), (graphs.edge_cat + 1) % 4, graphs.edge_cat),
        edge_dense=torch.where(hidden.unsqueeze(1), graphs.edge_dense + 1, graphs.edge_dense),
    )
    torch.testing.assert_close(encoder(encoder.context(graphs, hidden)), encoder(encoder.context(other, hidden)))
    assert not torch.allclose(encoder(encoder.context(graphs, hidden)), encoder(graphs))
    assert not torch.allclose(encoder(graphs), encoder(other))


@pytest.mark.parametrize("kind", ["gin", "gcn", "sage", "gat"])
def test_edgeless_and_complete_graphs_are_embedded(kind: str) -> None:
    for density in (0.0, 1.0):
        nodes = small(kind=kind, pooling="attention")(random_graphs([4, 1, 2], density=density))
        assert torch.isfinite(nodes).all()


def test_every_encoder_option_changes_the_embeddings() -> None:
    graphs = replace(random_graphs(SIZES), stream_ptr=torch.tensor([0, 2, 5]))
    changes: list[dict[str, Any]] = [{"kind": kind} for kind in ("gin", "gcn", "sage", "gat")]
    changes += [{"jumping_knowledge": jump} for jump in ("sum", "max", "concat")] + [
        {"kind": "gat", "heads": 3},
        {"layers": 2},
    ]
    changes += [{"pooling": "sum"}, {"pooling": "attention"}, {"omega": False}, {"residual": True}]
    found = []
    for change in changes:
        encoder = small(**change)
        found.append(encoder.pool(encoder(graphs), graphs))
    for i, first in enumerate(found):
        assert all(not torch.allclose(first, second) for second in found[:i])


@pytest.mark.parametrize("symmetric", [True, False])
def test_sparse_operator_has_exact_derivatives_of_second_order(symmetric: bool) -> None:
    one_way = torch.tensor([[0, 1, 2, 0], [1, 2, 3, 3]])
    index = torch.cat([one_way, one_way.flip(0)], 1) if symmetric else one_way
    adjacency = SparseMap.from_pairs(index[1], index[0], (5, 5), symmetric)
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    dense = torch.zeros(5, 5, dtype=torch.float64).index_put_(
        (index[1], index[0]), torch.ones(()).double(), accumulate=True
    )
    torch.testing.assert_close(adjacency(x), dense @ x)
    assert torch.autograd.gradcheck(lambda v: adjacency(v).sin(), x)
    assert torch.autograd.gradgradcheck(lambda v: adjacency(v).sin(), x)


def test_padding_round_trips_with_exact_derivatives() -> None:
    padding = Padding(torch.tensor([0, 3, 3, 4, 24, 30, 60]), torch.device("cpu"))
    x = torch.randn(60, 2, dtype=torch.float64, requires_grad=True)
    assert len(padding.shapes) > 1
    torch.testing.assert_close(padding.unpad(padding.pad(x)), x)
    assert all(int(part[~real].abs().sum()) == 0 for part, real in padded_slots(padding, x))
    assert torch.autograd.gradcheck(lambda v: padding.pad(v.sin())[1].sin(), x)
    assert torch.autograd.gradgradcheck(lambda v: padding.unpad([p.sin() for p in padding.pad(v)]), x, atol=1e-4)


def padded_slots(padding: Padding, x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Per class the padded values and which slots are real."""
    counts = [b * size for b, size in padding.shapes]
    reals = padding.mask.flatten().split(counts)
    return [(p.detach().flatten(0, 1), real) for p, real in zip(padding.pad(x), reals, strict=True)]


def test_segment_sum_mean_and_expand() -> None:
    rows, x = Segments(torch.tensor([0, 3, 3, 4])), torch.arange(8.0).view(4, 2)
    torch.testing.assert_close(rows.sum(x), torch.stack([x[:3].sum(0), torch.zeros(2), x[3]]))
    torch.testing.assert_close(rows.mean(x), torch.stack([x[:3].mean(0), torch.zeros(2), x[3]]))
    torch.testing.assert_close(rows.expand(x[:3]), x[[0, 0, 0, 2]])


def test_ghost_norm_is_batch_norm_within_streams_and_averages_running_statistics() -> None:
    graphs = replace(random_graphs(SIZES), stream_ptr=torch.tensor([0, 2, 5]))
    norm, x = Norm(4, "ghost"), torch.randn(graphs.num_nodes, 4)
    cut = int(graphs.node_ptr[2])
    references = [nn.BatchNorm1d(4), nn.BatchNorm1d(4)]
    expected = torch.cat([reference(part) for reference, part in zip(references, (x[:cut], x[cut:]), strict=True)])
    torch.testing.assert_close(norm(x, Context(graphs, MOLECULE, x.dtype)), expected)
    apply_statistics(norm, statistics(norm))
    for name in ("running_mean", "running_var"):
        mean = torch.stack([getattr(reference, name) for reference in references]).mean(0)
        torch.testing.assert_close(getattr(norm, name), mean)
    norm.eval()
    evaluated = nn.functional.batch_norm(x, norm.running_mean, norm.running_var)
    torch.testing.assert_close(norm(x, Context(graphs, MOLECULE, x.dtype)), evaluated)


def test_stream_of_a_single_node() -> None:
    graphs = replace(random_graphs([6, 1]), stream_ptr=torch.tensor([0, 1, 2]))
    norm, x = Norm(4, "ghost"), torch.randn(7, 4, requires_grad=True)
    y = norm(x, Context(graphs, MOLECULE, x.dtype))
    torch.testing.assert_close(y[6], torch.zeros(4))
    y.square().sum().backward()
    assert torch.isfinite(torch.cat([y, x.grad if x.grad is not None else y])).all()
    sums = statistics(norm)
    torch.testing.assert_close(sums[:4], x[:6].mean(0).detach() + x[6].detach())
    torch.testing.assert_close(sums[4:8], x[:6].var(0).detach())


@pytest.mark.parametrize("norm", ["ghost", "batch", "graph", "layer", "none"])
def test_norms_use_their_own_statistics(norm: str) -> None:
    graphs = replace(random_graphs(SIZES), stream_ptr=torch.tensor([0, 2, 5]))
    outputs = {kind: small(norm=kind)(graphs) for kind in ("ghost", "batch", "graph", "layer", "none")}
    assert all(not torch.allclose(outputs[norm], other) for kind, other in outputs.items() if kind != norm)


@pytest.mark.parametrize("schema", [MOLECULE, BARE])
@pytest.mark.parametrize("pooling", ["mean", "sum", "attention"])
@pytest.mark.parametrize("kind", ["gin", "gcn", "sage", "gat"])
def test_a_graph_alone_equals_the_graph_in_a_batch(schema: Schema, pooling: str, kind: str) -> None:
    encoder, graphs = trained(small(schema, pooling=pooling, kind=kind)), random_graphs(SIZES, schema)
    nodes = encoder(graphs)
    pooled = encoder.pool(nodes, graphs)
    for g in range(graphs.num_graphs):
        alone = slice_graphs(graphs, g, g + 1)
        mine = encoder(alone)
        torch.testing.assert_close(mine, nodes[int(graphs.node_ptr[g]) : int(graphs.node_ptr[g + 1])])
        torch.testing.assert_close(encoder.pool(mine, alone)[0], pooled[g])


@pytest.mark.parametrize("kind", ["gin", "gcn", "sage", "gat"])
def test_permuted_nodes_give_permuted_embeddings(kind: str) -> None:
    encoder, graphs = trained(small(kind=kind)), random_graphs(SIZES)
    moved, new = permute_nodes(graphs)
    torch.testing.assert_close(encoder(moved)[new], encoder(graphs))


@pytest.mark.parametrize("kind", ["gin", "gcn", "sage", "gat"])
def test_pyg_batches_give_the_same_embeddings(kind: str) -> None:
    encoder, graphs = trained(small(kind=kind)), random_graphs(SIZES)
    torch.testing.assert_close(encoder(from_pyg(to_pyg(graphs), MOLECULE)), encoder(graphs))


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build_encoder(MOLECULE, EncoderConfig(layers=1, width=4), 7).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    again = build_encoder(MOLECULE, EncoderConfig(layers=1, width=4), 7).state_dict()
    other = build_encoder(MOLECULE, EncoderConfig(layers=1, width=4), 8).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_dropout_acts_in_training_only() -> None:
    encoder, graphs = trained(small(norm="layer")), random_graphs(SIZES)
    plain = encoder(graphs)
    encoder.set_dropout(0.5)
    torch.testing.assert_close(encoder(graphs), plain)
    encoder.train()
    assert not torch.allclose(encoder(graphs), plain)


@pytest.mark.parametrize("jump", ["last", "sum", "concat"])
def test_layer_outputs(jump: Any) -> None:
    """Each output is the input of the next layer; the last ones are the node embeddings, pooled to "graph"."""
    encoder, graphs = trained(small(jumping_knowledge=jump)), random_graphs(SIZES, MOLECULE)
    encoder.set_dropout(0.5)
    found, context = encoder.layer_outputs(graphs), encoder.context(graphs)
    combined = [] if jump == "last" else ["nodes"]
    assert list(found) == ["input", "layer 1", "layer 2", "layer 3", *combined, "graph"]
    assert torch.equal(found["input"], encoder.embed(graphs))
    x = found["input"]
    for number, layer in enumerate(encoder.psi.layers):  # pyright: ignore[reportArgumentType]
        x = layer(x, context)
        x = x.relu() if number < 2 else x
        assert torch.equal(found[f"layer {number + 1}"], x)
    nodes = encoder(graphs)
    assert torch.equal(found["layer 3" if jump == "last" else "nodes"], nodes)
    assert torch.equal(found["graph"], encoder.pool(nodes, graphs))


@pytest.mark.parametrize(
    ("module", "names"), [(custom.gin_stack, ["input", "nodes", "graph"]), (custom.Raw, ["nodes", "graph"])]
)
def test_layer_outputs_of_a_user_module(module: Any, names: list[str]) -> None:
    register.register_encoder("mine", module)
    encoder = build_encoder(MOLECULE, EncoderConfig("mine", layers=2, width=8), 0).eval()
    found = encoder.layer_outputs(graphs := random_graphs(SIZES, MOLECULE))
    assert list(found) == names
    assert torch.equal(found["nodes"], encoder(graphs))

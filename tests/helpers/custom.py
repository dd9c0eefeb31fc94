"""User encoders written for PyG, and graphs to test them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.utils import add_self_loops, scatter

import distgnn
from distgnn.config import EncoderConfig
from distgnn.graph.batch import GraphBatch
from distgnn.graph.schema import Schema
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from tests.helpers.graphs import MOLECULE, random_graphs, with_tasks

SIZES = [4, 1, 6, 5, 9]
WIDTH = 6
Factory = Callable[[Schema, EncoderConfig], nn.Module]


class Stack(nn.Module):
    """Convolutions, each with a norm and a ReLU."""

    def __init__(self, convs: list[nn.Module], norms: list[nn.Module]) -> None:
        super().__init__()
        self.convs, self.norms = nn.ModuleList(convs), nn.ModuleList(norms)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = torch.relu_(norm(conv(x, edge_index)))
        return x


def gin(width: int, train_eps: bool = True) -> nn.Module:
    mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.BatchNorm1d(2 * width), nn.ReLU(inplace=True))
    return pyg.GINConv(nn.Sequential(*mlp, nn.Linear(2 * width, width)), train_eps=train_eps)


def gin_stack(_: Schema, config: EncoderConfig) -> nn.Module:
    width = config.width
    return Stack([gin(width), gin(width)], [nn.BatchNorm1d(width), nn.LayerNorm(width)])


def gcn_stack(_: Schema, config: EncoderConfig) -> nn.Module:
    width = config.width
    norms = [pyg.BatchNorm(width), pyg.LayerNorm(width, mode="node")]
    return Stack([pyg.GCNConv(width, width) for _ in norms], norms)


def sage_stack(_: Schema, config: EncoderConfig) -> nn.Module:
    width = config.width
    norms = [nn.LayerNorm(width), nn.LayerNorm(width, bias=False)]
    return Stack([pyg.SAGEConv(width, width, project=True) for _ in norms], norms)


class Attention(nn.Module):
    """Two attention layers that read edge features; norms within graphs."""

    def __init__(self, kind: type[nn.Module], edges: int, width: int) -> None:
        super().__init__()
        options = {"heads": 2, "concat": False, "edge_dim": edges or None}
        self.first = kind(width, width, **options)
        self.second = kind(width, width, residual=True, **options)
        self.norms = nn.ModuleList([pyg.GraphNorm(width), pyg.LayerNorm(width)])

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None, batch: Tensor) -> Tensor:
        x = self.norms[0](self.first(x, edge_index, edge_attr), batch).relu()
        return self.norms[1](self.second(x, edge_index, edge_attr), batch)


def gat_stack(schema: Schema, config: EncoderConfig) -> nn.Module:
    return Attention(pyg.GATConv, sum(f.size for f in schema.edge), config.width)


def gatv2_stack(schema: Schema, config: EncoderConfig) -> nn.Module:
    return Attention(pyg.GATv2Conv, sum(f.size for f in schema.edge), config.width)


class Plain(nn.Module):
    """No convolution: linear maps of nodes, of edges and of graphs, and a scatter; one map is used twice."""

    def __init__(self, schema: Schema, config: EncoderConfig) -> None:
        super().__init__()
        width, edges = config.width, sum(f.size for f in schema.edge)
        self.node, self.edge = nn.Linear(width, width), nn.Linear(edges, width) if edges else None
        self.graph = nn.Linear(width, width, bias=False)
        self.edge_norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None, batch: Tensor) -> Tensor:
        sent = self.node(input=x).relu_()[edge_index[0]]
        if self.edge is not None:
            sent = sent + self.edge(edge_attr)
        x = x + scatter(self.edge_norm(sent).tanh(), edge_index[1], dim_size=x.shape[0])
        whole = self.graph(scatter(x, batch, reduce="mean"))
        return self.node(x + whole[batch])


class Raw(nn.Module):
    """Reads features as they are stored."""

    def __init__(self, schema: Schema, config: EncoderConfig) -> None:
        super().__init__()
        self.table = nn.Embedding(schema.node[0].size, config.width)
        self.numbers = nn.Linear(schema.node[1].size, config.width)
        self.bond = nn.Embedding(schema.edge[0].size, config.width)
        self.conv = pyg.GINEConv(nn.Linear(config.width, config.width), train_eps=True)

    def forward(self, data: Data) -> Tensor:
        assert data.batch is not None
        kinds = data.x[:, 0]
        x = self.table(kinds) + self.table((kinds + 1) % self.table.num_embeddings) + self.numbers(data.x_dense)
        return self.conv(x, data.edge_index, self.bond(data.edge_attr[:, 0]) * data.edge_attr_dense)


class Messages(pyg.MessagePassing):
    """A convolution of the user's own: a norm and a linear map of messages, a node's message to itself among them."""

    def __init__(self, _: Schema, config: EncoderConfig) -> None:
        super().__init__(aggr="mean", flow="target_to_source")
        self.norm, self.linear = nn.BatchNorm1d(config.width), nn.Linear(2 * config.width, config.width)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.propagate(add_self_loops(edge_index, num_nodes=x.shape[0])[0], x=x)

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        return self.linear(torch.cat([self.norm(x_j * x_i.tanh()), x_i], dim=1))


class Recurrent(nn.Module):
    """A recurrent cell, which is not a known module type, and a parameter."""

    def __init__(self, _: Schema, config: EncoderConfig) -> None:
        super().__init__()
        self.cell, self.scale = nn.GRUCell(config.width, config.width), nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        received = torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]])
        return self.cell(received, x) * self.scale


def bare(forward: Any) -> Factory:
    def factory(*_: Any) -> nn.Module:
        module = nn.Module()
        module.forward = forward  # pyright: ignore[reportAttributeAccessIssue]
        return module

    return factory


STACKS: dict[str, Factory] = {
    "gin": gin_stack,
    "gcn": gcn_stack,
    "sage": sage_stack,
    "gat": gat_stack,
    "gatv2": gatv2_stack,
    "plain": Plain,
    "raw": Raw,
    "messages": Messages,
}


def made(factory: Factory, schema: Schema = MOLECULE, **options: Any) -> Encoder:
    """A float64 encoder with the module of ``factory``, in training mode."""
    distgnn.register_encoder("mine", factory)
    return build_encoder(schema, EncoderConfig(kind="mine", width=WIDTH, **options), seed=1).double().train()


def tasks(
    config: L2PConfig, schema: Schema = MOLECULE, streams: list[int] | None = None, bare: bool = True
) -> GraphBatch:
    """Graphs with tasks, with ``bare`` one without edges and one of a single node among them; each a stream unless told
    otherwise."""
    if not bare:
        return with_tasks(random_graphs([4, 6, 9], schema, density=0.7), L2P(config).prepare, [0, 1, 2])
    batch = random_graphs(SIZES, schema)
    kept = batch.edges[0] < batch.node_ptr[3]
    kept |= batch.edges[0] >= batch.node_ptr[4]  # the graph of five nodes loses its edges
    counts = torch.tensor(
        [int(kept[low:high].sum()) for low, high in zip(batch.edge_ptr, batch.edge_ptr[1:], strict=False)]
    )
    batch = replace(
        batch,
        edges=batch.edges[:, kept],
        edge_cat=batch.edge_cat[kept],
        edge_dense=batch.edge_dense[kept],
        edge_ptr=torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]),
    )
    return with_tasks(batch, L2P(config).prepare, list(range(len(SIZES))) if streams is None else streams)


def gathered(x: Tensor, edge_index: Tensor, sent: Tensor) -> Tensor:
    return x + torch.zeros_like(x).index_add(0, edge_index[1], sent)

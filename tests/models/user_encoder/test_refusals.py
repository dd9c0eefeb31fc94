"""User encoders that cannot be trained as requested are rejected with a one-line remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

import distgnn
from distgnn import register
from distgnn.config import EncoderConfig
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from tests.helpers.custom import SIZES, STACKS, WIDTH, Factory, Recurrent, Stack, bare, gathered, made, tasks
from tests.helpers.graphs import random_graphs


class Odd(nn.Module):
    """Applies functions before and after one linear map."""

    def __init__(self, config: EncoderConfig, before: Any = None, after: Any = None, **parts: nn.Module) -> None:
        super().__init__()
        self.linear = nn.Linear(config.width, config.width)
        self.before, self.after = before, after
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        x = self.before(self, x, edge_index, batch) if self.before else x
        x = self.linear(x)
        return self.after(self, x, edge_index, batch) if self.after else x


class Counting(nn.Module):
    """Keeps a count in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return x


def odd(before: Any = None, after: Any = None, **parts: Any) -> Factory:
    return lambda _, config: Odd(config, before, after, **{name: part() for name, part in parts.items()})


def looped(m: Any, x: Tensor, edge_index: Tensor, _: Tensor) -> Tensor:
    """A linear map of messages and one more row for each node, outside a convolution."""
    both = torch.cat([x[edge_index[0]], x])
    return x + torch.zeros_like(x).index_add(0, torch.cat([edge_index[1], torch.arange(len(x))]), m.edge(both))


def half_frozen(_: Schema, config: EncoderConfig) -> nn.Module:
    module = Odd(config)
    module.linear.bias.requires_grad_(False)
    return module


def tied(_: Schema, config: EncoderConfig) -> nn.Module:
    module = Odd(config, lambda m, x, *_: m.edge(x), edge=nn.Linear(config.width, config.width))
    module.edge.weight = module.linear.weight
    return module


ALWAYS = {
    "random": (odd(lambda m, x, *_: m.drop(x), drop=lambda: nn.Dropout(0.5)), "output is random in training mode"),
    "mixes": (odd(lambda _m, x, *_: x - x.mean(0)), "graphs are not independent"),
    "counts": (odd(lambda m, x, *_: m.count(x), count=Counting), "changes its buffer count.seen in the forward pass"),
    "single": (
        odd(lambda _m, x, *_: x @ torch.ones(WIDTH, WIDTH)),
        "trial run in float64 failed .* create tensors with x.dtype",
    ),
}
PER_GRAPH = {
    "cell": (Recurrent, "scale \\(of Recurrent\\) cannot be adapted per graph"),
    "prelu": (odd(after=lambda m, x, *_: m.act(x), act=nn.PReLU), "act.weight \\(of PReLU\\) cannot be adapted"),
    "half frozen": (half_frozen, "linear is partly frozen"),
    "tied": (tied, "linear.weight|edge.weight shares its parameter with"),
    "reversed": (
        odd(lambda _m, x, *_: x.flip(0), lambda _m, x, *_: x.flip(0)),
        "linear \\(Linear\\) is used in a way",
    ),
    "looped": (odd(looped, edge=lambda: nn.Linear(WIDTH, WIDTH)), "edge reads 45 rows that are neither nodes"),
    "two kinds": (
        odd(lambda m, x, e, *_: gathered(x, e, m.linear(x[e[0]]))),
        "linear .Linear. is used in a way that cannot be adapted per graph",
    ),
    "deep": (
        odd(lambda m, x, *_: m.linear(x.unsqueeze(1)).squeeze(1)),
        "linear has an input of 3 dimensions; only 2 can be adapted",
    ),
    "wide table": (
        odd(lambda m, x, e, *_: gathered(x, e, m.table(e.t() * 0).sum(1)), table=lambda: nn.Embedding(2, WIDTH)),
        "table has an input of 2 dimensions; only 1 can be adapted",
    ),
}


@pytest.mark.parametrize("name", ALWAYS)
def test_untrainable_modules_are_rejected(name: str) -> None:
    factory, message = ALWAYS[name]
    encoder = made(factory)
    with pytest.raises(RequestError, match=f"^encoder 'mine': .*{message}"):
        encoder.psi.rehearse(0)


@pytest.mark.parametrize("name", PER_GRAPH)
def test_modules_that_cannot_adapt_per_graph_are_rejected(name: str) -> None:
    factory, message = PER_GRAPH[name]
    encoder = made(factory)
    encoder.psi.rehearse(0)
    with pytest.raises(RequestError, match=message) as refused:
        encoder.psi.rehearse(2)
    assert "\n" not in str(refused.value)
    assert "--l2p.adaptation batch" in str(refused.value)
    config = L2PConfig.paper(adaptation="batch", node_lr=0.05)
    assert torch.isfinite(L2P(config).losses(encoder, tasks(config), 3, 0).total)


BUILT = {
    "no module": (lambda *_: len, "factory must return a torch.nn.Module, found builtin"),
    "argument": (
        bare(lambda x, colour: x + colour),
        "forward has an unknown parameter 'colour'; available inputs are x, edge_index",
    ),
    "width": (bare(lambda x: x[:, :2]), r"must return node embeddings \(15, 6\), returned \(15, 2\)"),
    "graphs": (bare(lambda x, batch: (x, batch)), "must return node embeddings .* returned tuple"),
    "running": (
        odd(lambda m, x, *_: m.norm(x), norm=lambda: nn.InstanceNorm1d(WIDTH, track_running_stats=True)),
        r"norm \(InstanceNorm1d\) keeps running statistics of its own",
    ),
    "no running": (
        odd(lambda m, x, *_: m.norm(x), norm=lambda: nn.BatchNorm1d(WIDTH, track_running_stats=False)),
        r"norm \(BatchNorm1d\) needs track_running_stats=True",
    ),
    "norm of what": (
        odd(lambda m, x, *_: m.norm(x[:4]).sum() + x, norm=lambda: nn.BatchNorm1d(WIDTH)),
        "norm normalises rows that are neither nodes",
    ),
}


@pytest.mark.parametrize("name", BUILT)
def test_invalid_modules_are_rejected(name: str) -> None:
    factory, message = BUILT[name]
    with pytest.raises(RequestError, match=message):
        made(factory)


@pytest.mark.parametrize("name", ["gin", "two words", "mine"])
def test_invalid_names_are_rejected(name: str) -> None:
    distgnn.register_encoder("mine", STACKS["gin"])
    with pytest.raises(RequestError, match=f"register.encoder: '{name}' is .* choose another"):
        distgnn.register_encoder(name, STACKS["gin"])


def test_cached_convolution_is_rejected() -> None:
    with pytest.raises(
        RequestError, match=r"convs.0 \(GCNConv\) caches the first batch's edges; build it with cached=False"
    ):
        made(lambda _, config: Stack([pyg.GCNConv(config.width, config.width, cached=True)], [nn.Identity()]))


def test_hidden_features_are_not_readable_through_data() -> None:
    raw, batch = made(STACKS["raw"]), random_graphs(SIZES)
    with pytest.raises(RequestError, match="hides node features, but the module reads data"):
        raw(batch, inputs=raw.embed(batch))
    with pytest.raises(RequestError, match="hides edge features, but the module reads data"):
        raw(raw.context(batch, torch.ones(batch.num_edges, dtype=torch.bool)))
    register.encoder.forget_users()
    plain = made(STACKS["plain"])
    hidden = torch.arange(batch.num_edges) % 2 == 0
    other = replace(batch, edge_cat=torch.where(hidden.unsqueeze(1), 0, batch.edge_cat))
    other = replace(other, edge_dense=torch.where(hidden.unsqueeze(1), 0.5, batch.edge_dense))
    torch.testing.assert_close(plain(plain.context(batch, hidden)), plain(plain.context(other, hidden)))
    assert not torch.equal(plain(batch), plain(other))

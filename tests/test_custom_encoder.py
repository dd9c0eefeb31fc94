"""Users' encoders: each graph adapts as if it had a copy of the weights, and what cannot do so is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch.func import functional_call

import distgnn
from distgnn.cli import main
from distgnn.config import EncoderConfig, FinetuneConfig, L2PConfig, SplitConfig
from distgnn.corpus.reader import CorpusReader
from distgnn.engine.world import World
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, slice_graphs
from distgnn.graph.schema import Schema
from distgnn.learn.l2p import L2P
from distgnn.models.adapt import FastWeights
from distgnn.models.context import Context
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.models.norm import apply_statistics, statistics
from distgnn.models.registry import REGISTERED
from distgnn.scale.pretrain import train_worker
from distgnn.transfer.fit import Method, RunJob
from distgnn.transfer.labels import load_labelled
from tests.custom import STACKS, Factory, Stack, gin
from tests.graphs import BARE, MOLECULE, random_graphs, with_tasks
from tests.oracle import Oracle

SIZES = [4, 1, 6, 5, 9]
WIDTH = 6


@pytest.fixture(autouse=True)
def _free_names() -> Iterator[None]:
    yield
    REGISTERED.clear()


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


class Copies(Oracle):
    """The oracle whose node embeddings come from every graph alone, run with that graph's copy of the weights."""

    def __init__(self, encoder: Encoder, batch: GraphBatch, config: L2PConfig, seed: int, epoch: int) -> None:
        super().__init__(encoder, batch, config, seed, epoch)
        self.forward = self._each_alone  # pyright: ignore[reportAttributeAccessIssue]

    def _each_alone(self, copies: list[dict[str, Tensor]]) -> Tensor:
        rows, inputs = [], self.encoder.embed(self.batch)
        for g, weights in enumerate(copies):
            graph = slice_graphs(self.batch, g, g + 1)
            nodes = inputs[int(self.batch.node_ptr[g]) : int(self.batch.node_ptr[g + 1])]
            context = Context(graph, self.encoder.schema, torch.float64)
            rows.append(functional_call(self.encoder.psi, weights, (nodes, context, None, 0.0)))
        return torch.cat(rows)


def gradients(encoder: Encoder, total: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*encoder.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(total, parameters, materialize_grads=True), strict=True))


def assert_same(encoder: Encoder, found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    ours, theirs = gradients(encoder, found), gradients(encoder, wanted)
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-8, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("kind", STACKS)
def test_every_graph_adapts_as_its_own_copy_would(kind: str, order: Any) -> None:
    encoder = made(STACKS[kind])
    raw = kind == "raw"  # without norms; and torch has no second derivative of a look-up of nothing, which copies need
    config = L2PConfig(node_steps=2, node_lr=0.001 if raw else 0.05, graph_lr=0.001, order=order)
    batch = tasks(config, bare=not raw)
    encoder.psi.rehearse(order)
    found = L2P(config).losses(encoder, batch, 3, 0).total
    assert_same(encoder, found, Copies(encoder, batch, config, 3, 0).total())
    frozen = L2P(replace(config, node_lr=0.0)).losses(encoder, batch, 3, 0).total
    assert float((found - frozen).detach().abs()) > 1e-4


@pytest.mark.parametrize("kind", ["gin", "gcn", "gat", "plain"])
def test_corpora_without_features_and_batches_without_edges(kind: str) -> None:
    encoder = made(STACKS[kind], BARE)
    config = L2PConfig(node_lr=0.05)
    batch = tasks(config, BARE)
    assert_same(encoder, L2P(config).losses(encoder, batch, 3, 0).total, Copies(encoder, batch, config, 3, 0).total())
    empty = random_graphs([1, 3, 1], BARE, density=0.0)
    assert encoder(empty).shape == (5, WIDTH)


def test_directed_graphs() -> None:
    schema = replace(MOLECULE, directed=True)
    encoder, config = made(STACKS["gat"], schema), L2PConfig(node_lr=0.05)
    batch = replace(tasks(config, schema), directed=True)
    encoder.psi.rehearse(2)
    assert_same(encoder, L2P(config).losses(encoder, batch, 3, 0).total, Copies(encoder, batch, config, 3, 0).total())


class OwnGin(nn.Module):
    """Our gin layers, written for PyG."""

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
def test_equals_our_own_gin_with_several_graphs_in_a_stream(adaptation: Any) -> None:
    theirs = made(OwnGin, BARE, layers=2)
    ours = build_encoder(BARE, EncoderConfig(width=WIDTH, layers=2), seed=1).double().train()
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.copy_(mine)
    config = L2PConfig(adaptation=adaptation, node_steps=2, node_lr=0.05)
    batch = tasks(config, BARE, streams=[0, 2])
    totals = [L2P(config).losses(encoder, batch, 3, 0).total for encoder in (theirs, ours)]
    torch.testing.assert_close(totals[0], totals[1], rtol=1e-10, atol=1e-10)
    for mine, other in zip(gradients(ours, totals[1]).values(), gradients(theirs, totals[0]).values(), strict=True):
        torch.testing.assert_close(other, mine, rtol=1e-8, atol=1e-9)
    sums = [statistics(encoder) for encoder in (theirs, ours)]
    torch.testing.assert_close(sums[0], sums[1])
    for encoder, total in zip((theirs, ours), sums, strict=True):
        apply_statistics(encoder, total)
    torch.testing.assert_close(theirs.eval()(batch), ours.eval()(batch), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("adaptation", ["graph", "batch"])
@pytest.mark.parametrize("kind", ["gin", "plain", "gat", "messages"])
def test_a_batch_gives_the_sum_of_its_streams(kind: str, adaptation: Any) -> None:
    encoder = made(STACKS[kind])
    config = L2PConfig(adaptation=adaptation, node_lr=0.05)
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
def test_adaptation_where_nobody_sends_anything(kind: str) -> None:
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


def test_weights_of_streams_see_what_others_see() -> None:
    encoder = made(STACKS["plain"])
    batch = replace(random_graphs(SIZES), stream_ptr=torch.tensor([0, 2, 5]))
    context = encoder.context(batch, torch.arange(batch.num_edges) % 3 == 0)
    fast = FastWeights(context.streams, 0.1, order=2)
    torch.testing.assert_close(encoder(context, fast), encoder(context))


def test_a_failed_pass_leaves_the_module_as_it_was() -> None:
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


def test_a_norm_in_two_places_stays_one() -> None:
    shared = nn.BatchNorm1d(WIDTH)
    encoder = made(lambda _, config: Stack([pyg.GCNConv(config.width, config.width) for _ in "ab"], [shared, shared]))
    norms = encoder.psi.get_submodule("module.norms")
    assert norms[0] is norms[1]  # pyright: ignore[reportIndexIssue]
    encoder.psi.rehearse(2)


class Recurrent(nn.Module):
    """A cell we know nothing about, and a parameter of its own."""

    def __init__(self, _: Schema, config: EncoderConfig) -> None:
        super().__init__()
        self.cell, self.scale = nn.GRUCell(config.width, config.width), nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        received = torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]])
        return self.cell(received, x) * self.scale


def test_any_module_adapts_in_a_stream() -> None:
    encoder, config = made(Recurrent), L2PConfig(adaptation="batch", node_lr=0.05)
    encoder.psi.rehearse(0)
    batch = tasks(config)  # where every stream is one graph, its weights are the graph's
    total = L2P(config).losses(encoder, batch, 3, 0).total
    wanted = Copies(encoder, batch, replace(config, adaptation="graph"), 3, 0).total()
    assert_same(encoder, total, wanted)


def test_a_module_without_weights_has_nothing_to_adapt() -> None:
    encoder, config = (
        made(bare(lambda x, edge_index: gathered(x, edge_index, x[edge_index[0]]))),
        L2PConfig(node_lr=0.05),
    )
    encoder.psi.rehearse(2)
    batch = tasks(config)
    totals = [L2P(replace(config, node_lr=lr)).losses(encoder, batch, 3, 0).total for lr in (0.0, 0.05)]
    assert torch.equal(*totals)


class Odd(nn.Module):
    """Does something to its input before and after one linear map."""

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


def gathered(x: Tensor, edge_index: Tensor, sent: Tensor) -> Tensor:
    return x + torch.zeros_like(x).index_add(0, edge_index[1], sent)


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
    "mixes": (odd(lambda _m, x, *_: x - x.mean(0)), "graphs mix"),
    "counts": (odd(lambda m, x, *_: m.count(x), count=Counting), "changes its buffer count.seen while it runs"),
    "single": (
        odd(lambda _m, x, *_: x @ torch.ones(WIDTH, WIDTH)),
        "rehearsal in float64 failed .* must follow x.dtype",
    ),
}
PER_GRAPH = {
    "cell": (Recurrent, "scale \\(of Recurrent\\) is not of a kind that can adapt per graph"),
    "prelu": (odd(after=lambda m, x, *_: m.act(x), act=nn.PReLU), "act.weight \\(of PReLU\\) is not of a kind"),
    "half frozen": (half_frozen, "linear is frozen in part"),
    "tied": (tied, "linear.weight|edge.weight is the same parameter as"),
    "reversed": (
        odd(lambda _m, x, *_: x.flip(0), lambda _m, x, *_: x.flip(0)),
        "linear \\(Linear\\) is not used in a way",
    ),
    "looped": (odd(looped, edge=lambda: nn.Linear(WIDTH, WIDTH)), "edge reads 45 rows that are neither nodes"),
    "two kinds": (
        odd(lambda m, x, e, *_: gathered(x, e, m.linear(x[e[0]]))),
        "linear .Linear. is not used in a way that can adapt per graph",
    ),
    "deep": (
        odd(lambda m, x, *_: m.linear(x.unsqueeze(1)).squeeze(1)),
        "linear reads an input of 3 dimensions where 2 can adapt",
    ),
    "wide table": (
        odd(lambda m, x, e, *_: gathered(x, e, m.table(e.t() * 0).sum(1)), table=lambda: nn.Embedding(2, WIDTH)),
        "table reads an input of 2 dimensions where 1 can adapt",
    ),
}


@pytest.mark.parametrize("name", ALWAYS)
def test_what_cannot_be_trained_at_all(name: str) -> None:
    factory, message = ALWAYS[name]
    encoder = made(factory)
    with pytest.raises(RequestError, match=f"^encoder 'mine': .*{message}"):
        encoder.psi.rehearse(0)


@pytest.mark.parametrize("name", PER_GRAPH)
def test_what_cannot_adapt_per_graph_names_its_part_and_the_way_out(name: str) -> None:
    factory, message = PER_GRAPH[name]
    encoder = made(factory)
    encoder.psi.rehearse(0)
    with pytest.raises(RequestError, match=message) as refused:
        encoder.psi.rehearse(2)
    assert "\n" not in str(refused.value)
    assert "--l2p.adaptation batch" in str(refused.value)
    config = L2PConfig(adaptation="batch", node_lr=0.05)
    assert torch.isfinite(L2P(config).losses(encoder, tasks(config), 3, 0).total)


def bare(forward: Any) -> Factory:
    def factory(*_: Any) -> nn.Module:
        module = nn.Module()
        module.forward = forward  # pyright: ignore[reportAttributeAccessIssue]
        return module

    return factory


BUILT = {
    "no module": (lambda *_: len, "factory must return a torch.nn.Module, found builtin"),
    "argument": (bare(lambda x, colour: x + colour), "forward wants 'colour'; it can be given x, edge_index"),
    "width": (bare(lambda x: x[:, :2]), r"returned \(15, 2\) where node embeddings \(15, 6\) belong"),
    "graphs": (bare(lambda x, batch: (x, batch)), "returned tuple where node embeddings"),
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
def test_what_cannot_be_built(name: str) -> None:
    factory, message = BUILT[name]
    with pytest.raises(RequestError, match=message):
        made(factory)


@pytest.mark.parametrize("name", ["gin", "two words", "mine"])
def test_names_that_are_not_free(name: str) -> None:
    distgnn.register_encoder("mine", STACKS["gin"])
    with pytest.raises(RequestError, match=f"register_encoder: '{name}' is .* choose another"):
        distgnn.register_encoder(name, STACKS["gin"])


def test_a_cached_convolution_is_refused() -> None:
    with pytest.raises(
        RequestError, match=r"convs.0 \(GCNConv\) keeps the first batch's edges; build it with cached=False"
    ):
        made(lambda _, config: Stack([pyg.GCNConv(config.width, config.width, cached=True)], [nn.Identity()]))


def test_hidden_features_stay_hidden() -> None:
    raw, batch = made(STACKS["raw"]), random_graphs(SIZES)
    with pytest.raises(RequestError, match="hides node features, but the module reads data"):
        raw(batch, inputs=raw.embed(batch))
    with pytest.raises(RequestError, match="hides edge features, but the module reads data"):
        raw(raw.context(batch, torch.ones(batch.num_edges, dtype=torch.bool)))
    REGISTERED.clear()
    plain = made(STACKS["plain"])
    hidden = torch.arange(batch.num_edges) % 2 == 0
    other = replace(batch, edge_cat=torch.where(hidden.unsqueeze(1), 0, batch.edge_cat))
    other = replace(other, edge_dense=torch.where(hidden.unsqueeze(1), 0.5, batch.edge_dense))
    torch.testing.assert_close(plain(plain.context(batch, hidden)), plain(plain.context(other, hidden)))
    assert not torch.equal(plain(batch), plain(other))


def written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in ``folder`` that registers the encoder "filed" when it is imported anew."""
    name = f"encoders_of_{folder.name}"
    text = "import distgnn\nfrom tests.custom import gin_stack\ndistgnn.register_encoder('filed', gin_stack)\n"
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    return name


def forget(name: str) -> None:
    """As in a process that has not imported the module."""
    REGISTERED.clear()
    sys.modules.pop(name, None)


def test_from_the_command_line(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, run = written(tmp_path, monkeypatch), str(tmp_path / "runs/one")
    words = f"pretrain --corpus {corpus} --out {tmp_path}/runs --name one --encoder.kind filed --encoder.width 6"
    small = "--train.streams 2 --train.max-steps 3 --train.checkpoint-minutes 0 --train.device cpu"
    assert main([*words.split(), *small.split()]) == 2
    assert "encoder.kind='filed' is unknown (there are gin, gcn, sage, gat)" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert main([*words.split(), *small.split(), "--imports", name]) == 0
    encoder = distgnn.load_encoder(run)
    assert encoder(random_graphs([3, 4], CorpusReader(corpus).manifest.schema)).graphs.shape == (2, 6)

    forget(name)
    with pytest.raises(
        RequestError, match=r"encoder.kind='filed' is unknown .* name the module that registers it with --imports"
    ):
        distgnn.load_encoder(run)
    assert main(["pretrain", "--resume", run]) == 2
    assert name not in sys.modules, "a run folder names no code to run"
    assert main(["pretrain", "--resume", run, "--imports", name]) == 0

    forget(name)
    worker = {"folder": run, "config": json.loads((tmp_path / "runs/one/config.json").read_text())}
    train_worker(worker, World.alone(torch.device("cpu")))
    assert "filed" in REGISTERED

    forget(name)
    words = f"finetune --corpus {corpus} --checkpoint {run} --out {tmp_path}/table --seeds 1 --epochs 1 --device cpu"
    words += " --split.method random"
    assert main(words.split()) == 2
    assert main([*words.split(), "--imports", name]) == 0


def test_a_job_on_another_machine_imports_for_itself(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = written(tmp_path, monkeypatch)
    config = FinetuneConfig(corpus, imports=(name,), seeds=1, epochs=1, split=SplitConfig("random"))
    method = Method("mine", EncoderConfig(kind="filed", width=WIDTH))
    outcome = RunJob(config, load_labelled(config), (method,))((0, 0))
    assert 0 <= outcome.scores["test"].value <= 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("no_such_module", "imports: 'no_such_module' cannot be imported"),
        ("a/b", "is not a dotted name of a Python module"),
    ],
)
def test_imports_that_are_not_there(given: str, message: str, corpus: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "--corpus", corpus, "--imports", given]) == 2
    assert message in capsys.readouterr().err


def test_initial_weights_follow_the_seed_and_lazy_ones_too() -> None:
    def lazy(_: Schema, config: EncoderConfig) -> nn.Module:
        return Stack([pyg.SAGEConv(-1, config.width)], [nn.BatchNorm1d(config.width)])

    first = made(lazy).state_dict()
    config = EncoderConfig(kind="mine", width=WIDTH)
    again, other = (build_encoder(MOLECULE, config, seed).double().state_dict() for seed in (1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["psi.module.convs.0.lin_l.weight"], other["psi.module.convs.0.lin_l.weight"])

"""Properties of every objective: extras are a function of the graph, and streams are additive."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.corpus.payload import decode, encode
from distgnn.graph.batch import GraphBatch, Ragged, select_graphs, slice_graphs
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.models.norm import statistics
from distgnn.objectives.base import Objective
from distgnn.objectives.build import build_objective
from tests.helpers.graphs import MOLECULE, permute_nodes, random_graphs, with_tasks
from tests.helpers.training import losses, small, train_small

NAMES = ["edgepred", "infomax", "contextpred", "graphcl", "attrmasking", "multitask", "structure"]
SIZES = [5, 1, 9, 2, 6, 14, 8]
STREAMS = [0, 3, 4]  # the second stream has a single graph


def build(name: str) -> tuple[Encoder, Objective]:
    config = PretrainConfig(corpus="-", objective=name, encoder=EncoderConfig(layers=2, width=6))  # pyright: ignore[reportArgumentType]
    objective = build_objective(config, MOLECULE)
    assert objective is not None
    return build_encoder(MOLECULE, config.encoder, 1).double(), objective.double()


def rows(extra: Ragged, g: int) -> list[list[int]]:
    return extra.values[int(extra.ptr[g]) : int(extra.ptr[g + 1])].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_extras_do_not_depend_on_the_batch(name: str) -> None:
    prepare, graphs = build(name)[1].prepare, random_graphs(SIZES)
    whole, order = prepare(graphs, 5, 2), [4, 0, 6, 2, 5, 1, 3]
    moved = prepare(select_graphs(graphs, torch.tensor(order)), 5, 2)
    for key, extra in whole.items():
        for place, g in enumerate(order):
            alone = prepare(slice_graphs(graphs, g, g + 1), 5, 2)
            assert rows(moved[key], place) == rows(extra, g) == rows(alone[key], 0)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("infomax", "structure")])
def test_seed_and_epoch_change_the_extras(name: str) -> None:
    prepare, graphs = build(name)[1].prepare, random_graphs([12, 13, 14])
    first, again, epoch, seed = (prepare(graphs, *when) for when in ((0, 0), (0, 0), (0, 1), (1, 0)))
    for key, extra in first.items():
        assert torch.equal(extra.values, again[key].values)
    for other in (epoch, seed):
        assert any(not torch.equal(extra.values, other[key].values) for key, extra in first.items())


@pytest.mark.parametrize("name", NAMES)
def test_streams_add_up(name: str) -> None:
    """Losses, counts, metrics and gradients of a step are sums over its streams, so that N ranks equal one."""
    encoder, objective = build(name)
    whole = with_tasks(random_graphs(SIZES), objective.prepare, streams=STREAMS)
    bounds = [*STREAMS, len(SIZES)]
    parts = [slice_graphs(whole, low, high) for low, high in pairwise(bounds)]
    together, alone = objective.losses(encoder, whole, 3, 0), [objective.losses(encoder, p, 3, 0) for p in parts]
    total = torch.stack([part.total for part in alone]).sum()
    torch.testing.assert_close(together.total, total, rtol=1e-12, atol=0)
    assert float(together.count) == sum(float(part.count) for part in alone)
    for metric in objective.metric_names:
        for i in range(2):
            added = sum(float(part.sums[metric][i]) for part in alone)
            assert float(together.sums[metric][i]) == pytest.approx(added, rel=1e-12)
    trained = [*encoder.parameters(), *objective.parameters()]
    both = [torch.autograd.grad(t, trained, allow_unused=True, materialize_grads=True) for t in (together.total, total)]
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def relabel(batch: GraphBatch, new: torch.Tensor) -> dict[str, Ragged]:
    """The extras of ``batch`` for the same graphs under other node ids: rows of nodes move, ids of nodes and of pairs change."""
    extras = {}
    for key, extra in batch.extras.items():
        if torch.equal(extra.ptr, batch.node_ptr):
            extras[key] = Ragged(extra.values[torch.argsort(new)], extra.ptr)
            continue
        start = torch.repeat_interleave(batch.node_ptr[:-1], extra.ptr.diff())
        if extra.values.ndim == 1:
            extras[key] = Ragged((new[extra.values + start] - start).int(), extra.ptr)
            continue
        start = start.unsqueeze(1)
        values, ends = extra.values.clone(), extra.values[:, -2:].long()
        values[:, -2:] = torch.where(ends < 0, ends, new[ends.clamp(min=0) + start] - start).int()
        extras[key] = Ragged(values, extra.ptr)
    return extras


@pytest.mark.parametrize("name", NAMES)
def test_node_ids_do_not_matter(name: str) -> None:
    encoder, objective = build(name)
    batch = with_tasks(random_graphs(SIZES), objective.prepare, streams=STREAMS)
    moved, new = permute_nodes(batch)
    moved = replace(moved, extras=relabel(batch, new))
    torch.testing.assert_close(*(objective.losses(encoder, b, 3, 0).total for b in (batch, moved)))


@pytest.mark.parametrize("name", NAMES)
def test_graphs_without_edges(name: str) -> None:
    encoder, objective = build(name)
    batch = with_tasks(random_graphs([1, 1, 4], density=0.0), objective.prepare)
    found = objective.losses(encoder, batch, 3, 0)
    assert torch.isfinite(found.total)
    if found.total.requires_grad:
        found.total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in [*encoder.parameters(), *objective.parameters()])


@pytest.mark.parametrize("name", ["l2p", *NAMES])
def test_running_statistics_count_graphs_that_give_no_loss(name: str) -> None:
    """Otherwise they would depend on the number of ranks if a rank has only such graphs."""
    encoder, objective = build(name)
    objective.losses(encoder, with_tasks(random_graphs([1, 1, 4], density=0.0), objective.prepare), 3, 0)
    assert statistics(encoder).abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_low_precision_stays_close(name: str) -> None:
    encoder, objective = build(name)
    encoder, objective = encoder.float(), objective.float()
    batch = with_tasks(random_graphs([9, 12, 8, 11]), objective.prepare)
    exact = objective.losses(encoder, batch, 3, 0).total
    with torch.autocast("cpu", torch.bfloat16):
        found = objective.losses(encoder, batch, 3, 0).total
    found.backward()
    assert float(found.detach()) == pytest.approx(float(exact.detach()), rel=0.05, abs=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_extras_travel_between_processes(name: str) -> None:
    graphs = random_graphs(SIZES)
    sent = replace(graphs, extras=build(name)[1].prepare(graphs, 0, 0))
    for key, extra in decode(*encode(sent)).extras.items():
        assert torch.equal(extra.values, sent.extras[key].values)
        assert extra.values.dtype == sent.extras[key].values.dtype


@pytest.mark.parametrize("name", NAMES)
def test_training_lowers_the_loss(name: str, corpus: str, tmp_path: Path) -> None:
    curve = list(losses(train_small(small(corpus, tmp_path, objective=name, max_steps=30, lr=3e-3))).values())
    assert sum(curve[-5:]) < sum(curve[:5])

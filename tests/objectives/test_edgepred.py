"""EdgePred against plain loops over node pairs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn.config import EncoderConfig
from distgnn.graph.batch import GraphBatch
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.objectives.edgepred import NAME, EdgePred
from tests.helpers.graphs import MOLECULE, random_graphs, with_tasks


def encoder_for_tests() -> Encoder:
    return build_encoder(MOLECULE, EncoderConfig(layers=2, width=6), 1).double()


def slow_loss(nodes: Tensor, batch: GraphBatch) -> Tensor:
    """Return the sum over graphs of the mean over edges and the mean over sampled non-edges."""
    total, extra = torch.zeros((), dtype=nodes.dtype), batch.extras[NAME]
    for g in range(batch.num_graphs):
        start, edges = int(batch.node_ptr[g]), batch.edges[:, int(batch.edge_ptr[g]) : int(batch.edge_ptr[g + 1])]
        absent = extra.values[int(extra.ptr[g]) : int(extra.ptr[g + 1])].long() + start
        present = [-F.logsigmoid(nodes[u] @ nodes[v]) for u, v in edges.t().tolist()]
        missing = [-F.logsigmoid(-nodes[u] @ nodes[v]) for u, v in absent.tolist()]
        for terms in (present, missing):
            if terms:
                total = total + torch.stack(terms).mean()
    return total


def test_equals_plain_loops() -> None:
    encoder, objective = encoder_for_tests(), EdgePred()
    batch = with_tasks(random_graphs([5, 1, 9, 2, 6, 3]), objective.prepare, streams=[0, 3])
    actual, expected = objective.losses(encoder, batch, 3, 0).total, slow_loss(encoder(batch), batch)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)
    both = [torch.autograd.grad(t, list(encoder.parameters()), materialize_grads=True) for t in (actual, expected)]
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_as_many_non_edges_as_edges_if_available() -> None:
    graphs = random_graphs([12, 6, 5], density=0.3)
    counts = EdgePred().prepare(graphs, 0, 0)[NAME].ptr.diff()
    pairs = graphs.node_ptr.diff() * (graphs.node_ptr.diff() - 1) // 2
    assert torch.equal(counts, torch.minimum(graphs.edge_ptr.diff(), pairs - graphs.edge_ptr.diff()))


def test_complete_graphs_have_no_non_edges() -> None:
    encoder, objective = encoder_for_tests(), EdgePred()
    batch = with_tasks(random_graphs([4, 2], density=1.0), objective.prepare)
    losses = objective.losses(encoder, batch, 3, 0)
    assert int(batch.extras[NAME].ptr[-1]) == 0
    assert float(losses.count) == 2.0
    torch.testing.assert_close(losses.total, slow_loss(encoder(batch), batch))


def test_graphs_without_edges_are_counted_and_give_no_loss() -> None:
    encoder, objective = encoder_for_tests(), EdgePred()
    batch = with_tasks(random_graphs([1, 3, 1], density=0.0), objective.prepare)
    losses = objective.losses(encoder, batch, 3, 0)
    losses.total.backward()
    assert float(losses.total.detach()) == float(losses.count) == 0.0
    assert [float(part) for part in losses.sums["skipped"]] == [3.0, 3.0]


def test_accuracy_counts_the_signs_of_scores() -> None:
    objective = EdgePred()
    batch = with_tasks(random_graphs([9, 7]), objective.prepare)
    nodes = torch.randn(16, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    extra = batch.extras[NAME]
    starts = torch.repeat_interleave(batch.node_ptr[:-1], extra.ptr.diff()).unsqueeze(1)
    u, v = torch.cat([batch.edges, (extra.values + starts).t()], 1)
    sign = torch.cat([torch.ones(batch.num_edges), -torch.ones(len(extra.values))])
    right = float(((nodes[u] * nodes[v]).sum(1) * sign > 0).sum())
    total, weight = objective.of_nodes(nodes, batch).sums["link_accuracy"]
    assert [float(total), float(weight)] == [right, len(sign)]

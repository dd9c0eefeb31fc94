"""Assertions that hold for every objective."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distgnn.corpus.stream import Prepare
from distgnn.graph.batch import GraphBatch, select_graphs, slice_graphs
from distgnn.models.encoder import Encoder
from distgnn.objectives.base import Objective
from tests.helpers.graphs import with_tasks


def gradients(total: Tensor, *modules: nn.Module) -> list[Tensor]:
    parameters = [parameter for module in modules for parameter in module.parameters()]
    return list(torch.autograd.grad(total, parameters, materialize_grads=True))


def assert_same_loss_and_gradient(loss: Tensor, reference: Tensor, *modules: nn.Module) -> None:
    torch.testing.assert_close(loss, reference, rtol=1e-11, atol=1e-11)
    for a, b in zip(gradients(loss, *modules), gradients(reference, *modules), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def assert_streams_add_up(objective: Objective, encoder: Encoder, graphs: GraphBatch, first: int) -> None:
    """Assert that losses of streams sum up, so that N ranks equal one; the second stream begins with graph ``first``."""
    whole = with_tasks(graphs, objective.prepare, streams=[0, first])
    parts = [slice_graphs(whole, 0, first), slice_graphs(whole, first, whole.num_graphs)]
    together, *alone = (objective.losses(encoder, batch, 3, 0) for batch in (whole, *parts))
    assert_same_loss_and_gradient(together.total, torch.stack([part.total for part in alone]).sum(), objective, encoder)
    assert float(together.count) == sum(float(part.count) for part in alone)
    for name in objective.metric_names:
        for place in (0, 1):
            added = torch.stack([part.sums[name][place].double() for part in alone]).sum()
            torch.testing.assert_close(together.sums[name][place].double(), added)


def assert_prepare_ignores_the_batch(prepare: Prepare, graphs: GraphBatch) -> None:
    """Assert that the extras of a graph do not depend on the batch or the order of graphs."""
    order = list(reversed(range(graphs.num_graphs)))
    made, moved = prepare(graphs, 5, 2), prepare(select_graphs(graphs, torch.tensor(order)), 5, 2)
    for name, extra in made.items():
        for place, g in enumerate(order):
            mine = extra.values[int(extra.ptr[g]) : int(extra.ptr[g + 1])]
            alone = prepare(slice_graphs(graphs, g, g + 1), 5, 2)[name]
            there = moved[name]
            assert torch.equal(mine, alone.values)
            assert torch.equal(mine, there.values[int(there.ptr[place]) : int(there.ptr[place + 1])])

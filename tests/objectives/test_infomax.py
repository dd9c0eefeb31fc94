"""Infomax against plain loops over nodes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.graph.batch import GraphBatch
from distgnn.models.encoder import build_encoder
from distgnn.objectives.base import ObjectiveContext
from distgnn.objectives.infomax import Infomax
from distgnn.objectives.streams import next_graph
from tests.helpers.graphs import BARE, MOLECULE, random_graphs

STREAMS = torch.tensor([0, 3, 4, 6])  # the second stream has a single graph


def slow_loss(nodes: Tensor, weight: Tensor, batch: GraphBatch) -> tuple[Tensor, int, int]:
    """(loss, scores on their side of 0, scores)."""
    total, right, scores = torch.zeros((), dtype=nodes.dtype), 0, 0
    parts = nodes.split(batch.node_ptr.diff().tolist())
    summaries = [torch.sigmoid(part.mean(0)) for part in parts]
    for low, high in pairwise(STREAMS.tolist()):
        for g in range(low, high):
            following = low + (g - low + 1) % (high - low)
            own = [h @ weight.t() @ summaries[g] for h in parts[g]]
            strange = [h @ weight.t() @ summaries[following] for h in parts[g]] if following != g else []
            total = total + torch.stack([-F.logsigmoid(score) for score in own]).mean()
            if strange:
                total = total + torch.stack([-F.logsigmoid(-score) for score in strange]).mean()
            right += sum(float(s.detach()) > 0 for s in own) + sum(float(s.detach()) < 0 for s in strange)
            scores += len(own) + len(strange)
    return total, right, scores


def test_equals_plain_loops() -> None:
    encoder = build_encoder(MOLECULE, EncoderConfig(layers=2, width=6), 1).double()
    torch.manual_seed(0)
    objective = Infomax(None, ObjectiveContext(MOLECULE, PretrainConfig("-", encoder=EncoderConfig(width=6)))).double()
    batch = replace(random_graphs([5, 1, 9, 2, 6, 3]), stream_ptr=STREAMS)
    losses = objective.losses(encoder, batch, 3, 0)
    slow, right, scores = slow_loss(encoder(batch), objective.weight, batch)
    torch.testing.assert_close(losses.total, slow, rtol=1e-12, atol=0)
    assert [float(part) for part in losses.sums["summary_accuracy"]] == [right, scores]
    assert float(losses.count) == 6.0
    trained = [*encoder.parameters(), *objective.parameters()]
    both = [torch.autograd.grad(t, trained, materialize_grads=True) for t in (losses.total, slow)]
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_the_next_graph_is_the_next_chosen_one_of_the_stream() -> None:
    batch = replace(random_graphs([1] * 8, BARE), stream_ptr=torch.tensor([0, 4, 5, 8]))
    chosen = torch.tensor([0, 2, 3, 5, 7])
    assert next_graph(chosen, batch).tolist() == [1, 2, 0, 4, 3]
    assert next_graph(chosen, replace(batch, stream_ptr=None)).tolist() == [1, 2, 3, 4, 0]
    assert next_graph(torch.tensor([1, 4, 6]), batch).tolist() == [0, 1, 2]

"""Infomax: contrast node embeddings with graph summaries (deep graph infomax, Velickovic et al., ICLR 2019).

As Hu et al. (ICLR 2020) train it as a baseline. The summary of a graph g is s_g = sigma(mean of its node embeddings).
The loss of a graph is the mean over its nodes of -ln sigma(h . W s_g) plus that of -ln sigma(-h . W s_g'), where g' is
the next graph of the stream, cyclic, as in the published code. A graph alone in its stream contributes the first term
only.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from distgnn import register
from distgnn.graph.batch import GraphBatch
from distgnn.models.encoder import Encoder
from distgnn.models.ops.segments import Segments
from distgnn.models.ops.sparse import SparseMap
from distgnn.objectives.base import Losses, Objective, ObjectiveContext, no_extras
from distgnn.objectives.streams import next_graph, sum_of_means


@register.objective("infomax")
class Infomax(Objective):
    """Contrast node embeddings with graph summaries (Velickovic et al., ICLR 2019).

    See the module docstring. Metric: ``summary_accuracy``, the share of node-summary pairs classified correctly.

    Attributes:
        weight: W [width, width].
    """

    metric_names = ("summary_accuracy",)

    def __init__(self, config: None, context: ObjectiveContext) -> None:  # noqa: ARG002
        super().__init__()
        width = context.width
        self.prepare = no_extras
        self.weight = nn.Parameter(torch.empty(width, width).uniform_(-(width**-0.5), width**-0.5))

    def losses(self, encoder: Encoder, batch: GraphBatch, seed: int, epoch: int) -> Losses:  # noqa: ARG002
        """Return the losses, summed over graphs."""
        nodes, rows = encoder(batch), Segments(batch.node_ptr, batch.num_nodes)
        every = torch.arange(batch.num_graphs, device=nodes.device)
        other = next_graph(every, batch)
        summaries = torch.sigmoid(rows.mean(nodes)) @ self.weight
        positive = (nodes * rows.expand(summaries)).sum(1)
        negative = (nodes * rows.expand(SparseMap.select(other, batch.num_graphs)(summaries))).sum(1)
        paired = (other != every)[rows.owner]
        total = sum_of_means(F.softplus(-positive), rows.ptr) + sum_of_means(F.softplus(negative) * paired, rows.ptr)
        correct = (positive > 0).sum() + ((negative < 0) & paired).sum()
        scores = paired.sum() + paired.numel()
        count = torch.full((), float(batch.num_graphs), device=nodes.device)
        return Losses(total, count, {"summary_accuracy": (correct.float(), scores.float())})

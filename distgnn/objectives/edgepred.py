"""EdgePred: link prediction (Hamilton et al., NeurIPS 2017), as a baseline of Hu et al. (ICLR 2020).

The loss of a graph is the mean of -ln sigma(h_u . h_v) over its edges plus the mean of -ln sigma(-h_u . h_v) over as
many keyed non-edges (or all non-edges, if there are fewer). Edges are not removed from message passing, as in the
published code. Graphs without edges are skipped; complete graphs contribute the first term only.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn import register
from distgnn.graph.batch import GraphBatch, Ragged, row_graph
from distgnn.graph.purposes import PretrainDraw
from distgnn.models.encoder import Encoder
from distgnn.models.ops.sparse import SparseMap
from distgnn.objectives.base import Losses, Objective, ObjectiveContext
from distgnn.objectives.keyed_choice import graph_keys
from distgnn.objectives.negative_sampling import NonEdges
from distgnn.objectives.streams import sum_of_means

NAME = "edgepred"


def draw_non_edges(graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:
    """Sample the extra ``edgepred``: int32 rows [u, v] of distinct non-edges, at most as many as the graph has edges.

    Ids are local to the graph.
    """
    keys = graph_keys(graphs, seed, PretrainDraw.NON_EDGES, epoch)
    non_edges = NonEdges(graphs)
    counts = np.minimum(graphs.edge_ptr.diff().numpy(), non_edges.count)
    _, u, v = non_edges.draw(keys, counts)
    rows = torch.from_numpy(np.stack([u, v], axis=1, dtype=np.int32, casting="same_kind"))
    return {NAME: Ragged(rows, torch.from_numpy(np.concatenate([[0], np.cumsum(counts)])))}


@register.objective("edgepred")
class EdgePred(Objective):
    """Predict links against sampled non-edges (Hamilton et al., NeurIPS 2017).

    See the module docstring. Losses are sums over graphs with edges. Metrics: ``link_accuracy``, the share of edges and
    non-edges classified correctly; ``skipped``, the share of graphs without edges.
    """

    metric_names = ("link_accuracy", "skipped")

    def __init__(self, config: None = None, context: ObjectiveContext | None = None) -> None:  # noqa: ARG002
        super().__init__()
        self.prepare = draw_non_edges

    def losses(self, encoder: Encoder, batch: GraphBatch, seed: int, epoch: int) -> Losses:  # noqa: ARG002
        """Return the losses, summed over graphs with edges."""
        return self.of_nodes(encoder(batch), batch)

    def of_nodes(self, nodes: Tensor, batch: GraphBatch) -> Losses:
        """Return the losses for node embeddings [N, width], for objectives that add another loss."""
        extra = batch.extras[NAME]
        absent = extra.values.long().t() + batch.node_ptr[row_graph(extra.ptr, extra.values.shape[0])]
        positive, negative = _scores(nodes, torch.cat([batch.edges, absent], dim=1)).split(
            [batch.num_edges, absent.shape[1]]
        )
        total = sum_of_means(F.softplus(-positive), batch.edge_ptr) + sum_of_means(F.softplus(negative), extra.ptr)
        count = (batch.edge_ptr.diff() > 0).sum().float()
        graphs, correct = torch.full_like(count, batch.num_graphs), (positive > 0).sum() + (negative < 0).sum()
        scores = torch.full_like(count, positive.numel() + negative.numel())
        return Losses(total, count, {"link_accuracy": (correct.float(), scores), "skipped": (graphs - count, graphs)})


def _scores(nodes: Tensor, pairs: Tensor) -> Tensor:
    """Return [k]: h_u . h_v of node pairs int64 [2, k]."""
    u, v = SparseMap.select(pairs.flatten(), nodes.shape[0])(nodes).chunk(2)
    return (u * v).sum(1)

"""L2P-GNN (Lu et al., "Learning to pre-train graph neural networks", AAAI 2021), Eq. 6-13, adapted per graph.

One pass over a batch, for every graph G at once:
    psi'   = psi   - alpha * d/dpsi   sum_c L_node(psi; S_c)         s times   (Eq. 7, 10)
    omega' = omega - beta  * d/domega L_graph(omega; S)              t times   (Eq. 8, 11; node embeddings from psi)
    loss   = L_graph(omega'; Q) + 1/k sum_c L_node(psi'; Q_c)                  (Eq. 9, 12; node embeddings from psi')
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn.config import L2PConfig
from distgnn.graph.batch import GraphBatch, row_graph
from distgnn.graph.keyed import draw, key
from distgnn.learn.objective import Losses, Objective
from distgnn.learn.tasks import ANCHOR, CHILD, NAME, NEGATIVE, POSITIVE, QUERY, TaskBuilder
from distgnn.models.adapt import FastWeights
from distgnn.models.context import Context
from distgnn.models.encoder import Encoder
from distgnn.models.rows import Rows
from distgnn.models.sparse import SparseMap

_SHIFT = 12


@dataclass(frozen=True)
class Links:
    """Support or query edges of a batch, M rows.

    ends: the map [3 M, N] that picks the rows of anchors u, then of positives v, then of negatives v' (any row where there is
    none). has_negative: float [M]. child: int64 [M], the child task (numbered through the batch). graph: int64 [M], the
    usable graph. endpoints: int64 [2, k], the distinct (child task, node) pairs of Eq. 8's set {h_u | (u, v) in S_c}.
    """

    ends: SparseMap
    has_negative: Tensor
    graph: Tensor
    endpoints: Tensor

    @classmethod
    def of(cls, rows: Tensor, graph: Tensor, nodes: int) -> Links:
        """rows: int64 [M, 4], batch-absolute u, v, v' (-1 = none) and the child task."""
        anchor, positive, negative, child = rows.t()
        ends = SparseMap.select(torch.cat([anchor, positive, negative.clamp(min=0)]), nodes)
        pairs = torch.unique(torch.cat([child, child]) * nodes + torch.cat([anchor, positive]))
        endpoints = torch.stack([pairs // nodes, pairs % nodes])
        return cls(ends, (negative >= 0).to(torch.get_default_dtype()), graph, endpoints)

    def scores(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """(h_u . h_v, h_u . h_v'), each [M]."""
        anchor, positive, negative = self.ends(nodes).chunk(3)
        return (anchor * positive).sum(1), (anchor * negative).sum(1)

    def node_loss(self, nodes: Tensor) -> Tensor:
        """[M]: -ln sigma(h_u . h_v) - ln sigma(-h_u . h_v') of every edge (Eq. 7)."""
        positive, negative = self.scores(nodes)
        return F.softplus(-positive) + F.softplus(negative) * self.has_negative


class Tasks:
    """The parent tasks of a batch. Graphs without a task (fewer than two edges) are left out: U usable graphs, C child tasks.

    usable: int64 [U], their place in the batch. children: int64 [U], child tasks of each. child_graph: int64 [C].
    pooled: the rows omega sees, per usable graph its child tasks' (``child_row`` int64 [C]) and then its own
    (``graph_row`` int64 [U]).
    """

    def __init__(self, batch: GraphBatch) -> None:
        extra = batch.extras[NAME]
        self.batch = batch
        counts, owner, values = extra.ptr.diff(), row_graph(extra.ptr), extra.values.long()
        self.usable = torch.nonzero(counts > 0).flatten()
        graph = (torch.cumsum(counts > 0, 0) - 1)[owner]
        none = torch.zeros_like(self.usable)
        self.children = none.scatter_reduce(0, graph, values[:, CHILD] + 1, "amax")
        self.child_graph = torch.repeat_interleave(self.children)
        ends = (self.children + 1).cumsum(0)
        self.pooled = Rows(torch.cat([ends.new_zeros(1), ends]))
        self.graph_row = ends - 1
        self.child_row = torch.arange(self.child_graph.numel(), device=ends.device) + self.child_graph
        local = values[:, [ANCHOR, POSITIVE, NEGATIVE]]
        absolute = torch.where(local < 0, -1, local + batch.node_ptr[owner].unsqueeze(1))
        child = values[:, CHILD] + (self.children.cumsum(0) - self.children)[graph]
        rows, is_query = torch.cat([absolute, child.unsqueeze(1)], dim=1), values[:, QUERY] == 1
        self.support = Links.of(rows[~is_query], graph[~is_query], batch.num_nodes)
        self.query = Links.of(rows[is_query], graph[is_query], batch.num_nodes)

    def membership(self, links: Links) -> SparseMap:
        """[C + U, N]: which nodes each pooled row reads: end nodes of a child task's edges, or the whole graph (Eq. 2, 8)."""
        owner = row_graph(self.batch.node_ptr)
        place = torch.full((self.batch.num_graphs,), -1, device=owner.device).index_copy(
            0, self.usable, self.graph_row
        )[owner]
        nodes = torch.nonzero(place >= 0).flatten()
        child, ends = links.endpoints
        rows, columns = torch.cat([self.child_row[child], place[nodes]]), torch.cat([ends, nodes])
        return SparseMap.from_pairs(rows, columns, (self.pooled.owner.numel(), self.batch.num_nodes))


class L2P(Objective):
    """See the module text. Losses are sums over usable graphs; the metric ``skipped`` is the share of the others."""

    metric_names = ("link_accuracy", "adaptation_gain", "skipped")

    def __init__(self, config: L2PConfig) -> None:
        super().__init__()
        self.config = config
        self.prepare = TaskBuilder(config.children, config.support, config.query)

    def losses(self, encoder: Encoder, batch: GraphBatch, seed: int, epoch: int) -> Losses:
        """Query loss after adaptation, summed over usable graphs, with gradients for theta = {psi, omega} (Eq. 12-13)."""
        tasks, context = Tasks(batch), encoder.context(batch)
        if not tasks.usable.numel():
            zero = encoder.omega.weight.sum() * 0
            return self._report(zero, tasks, torch.zeros((), device=zero.device), torch.zeros((), device=zero.device))
        moved = self.moved_dimensions(encoder, tasks, seed, epoch)
        prior, adapted = self._adapt_nodes(encoder, context, tasks)
        fast_omega = self._adapt_pooling(encoder, tasks, prior, moved[0])
        total = self._query_loss(encoder, tasks, adapted, fast_omega, moved[1])
        with torch.no_grad():
            before = self._query_loss(encoder, tasks, prior, None, moved[1])
        (positive, negative), has = tasks.query.scores(adapted.detach()), tasks.query.has_negative
        right = (positive > 0).sum() + ((negative < 0) * has).sum()
        return self._report(total, tasks, before - total.detach(), right / (has.numel() + has.sum()))

    def _adapt_nodes(self, encoder: Encoder, context: Context, tasks: Tasks) -> tuple[Tensor, Tensor]:
        """(node embeddings under psi, under psi' after s steps on the support edges), each [N, width] (Eq. 10)."""
        steps = self.config.node_steps
        fast = FastWeights(context.nodes, self.config.node_lr, self.config.order) if steps else None
        prior = nodes = encoder(context, fast)
        for _ in range(steps):
            if fast is not None:
                fast.step(tasks.support.node_loss(nodes).sum())
            nodes = encoder(context, fast)
        return prior, nodes

    def _adapt_pooling(self, encoder: Encoder, tasks: Tasks, nodes: Tensor, moved: Tensor | None) -> FastWeights | None:
        """omega' after t steps on the support sub-structures (Eq. 11)."""
        if not self.config.graph_steps:
            return None
        fast = FastWeights(tasks.pooled, self.config.graph_lr, self.config.order)
        pooled = encoder.readout(nodes, tasks.membership(tasks.support))
        for _ in range(self.config.graph_steps):
            fast.step(self.graph_loss(encoder.omega(pooled, fast), tasks, moved))
        return fast

    def _query_loss(
        self, encoder: Encoder, tasks: Tasks, nodes: Tensor, fast: FastWeights | None, moved: Tensor | None
    ) -> Tensor:
        """L_graph(omega'; Q) + 1/k sum_c L_node(psi'; Q_c), summed over graphs (Eq. 9)."""
        share = 1 / tasks.children.to(nodes.dtype)
        node_loss = (tasks.query.node_loss(nodes) * share[tasks.query.graph]).sum()
        pooled = encoder.readout(nodes, tasks.membership(tasks.query))
        return node_loss + self.graph_loss(encoder.omega(pooled, fast), tasks, moved)

    def graph_loss(self, out: Tensor, tasks: Tasks, moved: Tensor | None) -> Tensor:
        """sum_c -log sigma(h_Sc . h_G) - log sigma(-h_Sc . h_G'), summed over graphs (Eq. 8)."""
        part, whole = out.index_select(0, tasks.child_row), out.index_select(0, tasks.graph_row)
        other = whole.index_select(0, self._next_graph(tasks)) if moved is None else whole.gather(1, moved)
        positive = (part * whole.index_select(0, tasks.child_graph)).sum(1)
        negative = (part * other.index_select(0, tasks.child_graph)).sum(1)
        return F.softplus(-positive).sum() + F.softplus(negative).sum()

    def moved_dimensions(
        self, encoder: Encoder, tasks: Tasks, seed: int, epoch: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """For support and query: int64 [U, width], which dimension of h_G each dimension of h_G' is; None for ``other``."""
        if self.config.negatives == "other":
            return None, None
        ids = tasks.batch.graph_id[tasks.usable].cpu().numpy().view(np.uint64)
        made = (shifted_dimensions(key(seed, _SHIFT, epoch, side), ids, encoder.width) for side in (0, 1))
        support, query = (torch.from_numpy(index).to(tasks.usable.device) for index in made)
        return support, query

    def _next_graph(self, tasks: Tasks) -> Tensor:
        """int64 [U]: the next usable graph of the same stream, cyclic (a stream's only graph meets itself)."""
        count = tasks.usable.numel()
        ptr = tasks.batch.stream_ptr
        if ptr is None:
            ptr = torch.tensor([0, tasks.batch.num_graphs], device=tasks.usable.device)
        stream = torch.bucketize(tasks.usable, ptr[1:], right=True)
        sizes = torch.bincount(stream, minlength=ptr.numel() - 1)
        first = (sizes.cumsum(0) - sizes)[stream]
        return first + (torch.arange(count, device=first.device) - first + 1) % sizes[stream]

    def _report(self, total: Tensor, tasks: Tasks, gain: Tensor, accuracy: Tensor) -> Losses:
        count = torch.tensor(float(tasks.usable.numel()), device=total.device)
        graphs = torch.tensor(float(tasks.batch.num_graphs), device=total.device)
        sums = {
            "link_accuracy": (accuracy.float() * count, count),
            "adaptation_gain": (gain.float(), count),
            "skipped": (graphs - count, graphs),
        }
        return Losses(total, count, sums)


def shifted_dimensions(draw_key: int, graph_ids: np.ndarray, width: int) -> np.ndarray:
    """int64 [U, width]: a keyed random half of the dimensions moved cyclically among themselves, the others in place.

    The paper's negative is "shifting some dimensions of h_G"; a vector gathered with row g is graph g's negative.
    """
    keys = draw(draw_key, graph_ids)[:, None]
    order = np.argsort(draw(keys, np.arange(width)[None, :]), axis=1)[:, : max(width // 2, 2)]
    index = np.tile(np.arange(width), (len(graph_ids), 1))
    np.put_along_axis(index, order, np.roll(order, 1, axis=1), axis=1)
    return index

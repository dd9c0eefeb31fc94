"""Child tasks of L2P-GNN as tensors: end nodes of support and query edges, and members of each pooled subgraph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn.graph.batch import GraphBatch, group_sizes, row_graph, rows_where
from distgnn.models.ops.segments import Segments
from distgnn.models.ops.sparse import SparseMap
from distgnn.objectives.l2p.task_sampler import ANCHOR, CHILD, NAME, NEGATIVE, QUERY
from distgnn.objectives.streams import stream_bounds


@dataclass(frozen=True, eq=False)
class EdgeSamples:
    """Support or query edges of a batch, M rows.

    Attributes:
        ends: Map [3 M, N] that selects the rows of anchors u, then positives v, then negatives v' (an arbitrary row if
            there is none).
        has_negative: float [M], 1 if the edge has a negative.
        graph: int64 [M], index of the usable graph.
        of_child: float [M], number of edges of the edge's child task.
        endpoints: int64 [2, k], the distinct (child task, node) pairs of the set {h_u | (u, v) in S_c} of Eq. 8.
        pairs: int64 [2, M], the edges (u, v).
    """

    ends: SparseMap
    has_negative: Tensor
    graph: Tensor
    of_child: Tensor
    endpoints: Tensor
    pairs: Tensor

    @classmethod
    def of(cls, rows: Tensor, graph: Tensor, pairs: Tensor, nodes: int, children: int) -> EdgeSamples:
        """Build the samples.

        Args:
            rows: int64 [M, 4], batch-absolute u, v, v' (-1 = none) and the child task.
            graph: int64 [M], the usable graph.
            pairs: int64 [k], child task * nodes + node of the distinct pairs.
            nodes: N, number of nodes.
            children: C, number of child tasks.
        """
        anchor, positive, negative, child = rows.t()
        ends = SparseMap.select(torch.cat([anchor, positive, negative.clamp(min=0)]), nodes)
        endpoints, kind = torch.stack([pairs // nodes, pairs % nodes]), torch.get_default_dtype()
        of_child = group_sizes(child, children)[child].to(kind)
        return cls(ends, (negative >= 0).to(kind), graph, of_child, endpoints, torch.stack([anchor, positive]))

    def scores(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Return (h_u . h_v, h_u . h_v'), each [M]."""
        anchor, positive, negative = self.ends(nodes).chunk(3)
        return (anchor * positive).sum(1), (anchor * negative).sum(1)

    def node_loss(self, nodes: Tensor) -> Tensor:
        """Return [M]: -ln sigma(h_u . h_v) - ln sigma(-h_u . h_v') of every edge (Eq. 7)."""
        positive, negative = self.scores(nodes)
        return F.softplus(-positive) + F.softplus(negative) * self.has_negative


class TaskBatch:
    """The parent tasks of a batch: U usable graphs and C child tasks. Graphs with fewer than two edges have no task.

    Attributes:
        usable: int64 [U], indices of the graphs in the batch.
        children: int64 [U], number of child tasks.
        child_graph: int64 [C], the usable graph of each child task.
        pooled: The rows pooled with omega: for each usable graph those of its child tasks (``child_row``, int64 [C]),
            then its own (``graph_row``, int64 [U]).
    """

    def __init__(self, batch: GraphBatch) -> None:
        extra = batch.extras[NAME]
        self.batch = batch
        self._members: dict[EdgeSamples, SparseMap] = {}
        values, has, is_query = extra.values.long(), extra.ptr.diff() > 0, extra.values[:, QUERY] == 1
        owner, graph = row_graph(extra.ptr, len(values)), torch.cumsum(has, 0) - 1
        children = torch.zeros_like(graph).scatter_reduce(0, owner, values[:, CHILD] + 1, "amax")
        local = values[:, ANCHOR : NEGATIVE + 1]
        absolute = torch.where(local < 0, -1, local + batch.node_ptr[owner].unsqueeze(1))
        child = values[:, CHILD] + (children.cumsum(0) - children)[owner]
        rows = torch.cat([absolute, child.unsqueeze(1)], dim=1)

        below = children.sum() * batch.num_nodes  # keys of pairs of the support
        key = child * batch.num_nodes + is_query * below
        keys = torch.cat([key + rows[:, 0], key + rows[:, 1]]).sort().values
        first = torch.cat([keys.new_ones(min(len(keys), 1), dtype=torch.bool), keys[1:] != keys[:-1]])
        sizes = is_query.sum(), first.sum(), (first & (keys < below)).sum(), (batch.node_ptr.diff() * has).sum()
        told = torch.cat([torch.stack(sizes), children]).cpu()  # the one wait for the device
        (queries, pairs, supports, self._nodes), on_host = told[:4].tolist(), told[4:][told[4:] > 0]
        graphs, tasks = len(on_host), int(on_host.sum())

        graph, self.usable = graph[owner], rows_where(has, graphs)
        self.children = children[self.usable]
        self.child_graph = torch.repeat_interleave(self.children, output_size=tasks)
        ends = (self.children + 1).cumsum(0)
        self.pooled = Segments(F.pad(ends, (1, 0)), tasks + graphs, F.pad((on_host + 1).cumsum(0), (1, 0)))
        self.graph_row = ends - 1
        self.child_row = torch.arange(tasks, device=ends.device) + self.child_graph
        distinct = keys[rows_where(first, pairs)]
        sides = (
            (rows_where(~is_query, len(values) - queries), distinct[:supports]),
            (rows_where(is_query, queries), distinct[supports:] - below),
        )
        self.support, self.query = (
            EdgeSamples.of(rows[s], graph[s], found, batch.num_nodes, tasks) for s, found in sides
        )

    def membership(self, links: EdgeSamples) -> SparseMap:
        """Return the map [C + U, N] of the nodes of each pooled row (Eq. 2, 8).

        The nodes are the end nodes of a child task's edges, or the whole graph.
        """
        if links not in self._members:
            self._members[links] = self._membership(links)
        return self._members[links]

    def _membership(self, links: EdgeSamples) -> SparseMap:
        owner = row_graph(self.batch.node_ptr, self.batch.num_nodes)
        place = torch.full((self.batch.num_graphs,), -1, device=owner.device).index_copy(
            0, self.usable, self.graph_row
        )[owner]
        nodes = rows_where(place >= 0, self._nodes)
        child, ends = links.endpoints
        rows, columns = torch.cat([self.child_row[child], place[nodes]]), torch.cat([ends, nodes])
        return SparseMap.from_pairs(rows, columns, (self.pooled.owner.numel(), self.batch.num_nodes))

    @cached_property
    def of_children(self) -> SparseMap:
        """The map [C, U] that copies the row of each usable graph to its child tasks."""
        return SparseMap.select(self.child_graph, self.usable.numel())

    @cached_property
    def stream(self) -> Tensor:
        """int64 [U]: the stream of each usable graph."""
        return torch.bucketize(self.usable, stream_bounds(self.batch)[1:], right=True)

    @cached_property
    def stream_sizes(self) -> Tensor:
        """int64 [S]: number of usable graphs of each stream."""
        return group_sizes(self.stream, stream_bounds(self.batch).numel() - 1)

    @cached_property
    def pooled_by_stream(self) -> Segments:
        """The rows of ``pooled``, grouped by stream."""
        ends = self.stream_sizes.cumsum(0)
        return Segments(
            self.pooled.ptr[torch.cat([ends.new_zeros(1), ends])], self.graph_row.numel() + self.child_row.numel()
        )

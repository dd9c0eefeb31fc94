"""Sampling of L2P-GNN's child tasks (Lu et al., AAAI 2021, Eq. 6-7) for a whole unit at once by keyed hashes.

Each graph has k child tasks with support and query edges, sampled without replacement from the undirected edges, all
disjoint. Each sampled edge {u, v} gets a negative v' that is neither u nor a neighbour of u, sampled exactly (no
rejection).

Small graphs yield smaller tasks. A graph with E edges has min(k, E // 2) child tasks with equal shares of the edges (at
most support + query each), split in the proportion support : query with at least one edge on each side. A graph with
fewer than two edges has no task. If u has no non-neighbour, the other end becomes the anchor; if neither end has one,
the negative is -1 and only the positive term contributes to the loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from distgnn.graph.batch import GraphBatch, Ragged
from distgnn.graph.keyed import UInt64, draw
from distgnn.graph.purposes import PretrainDraw
from distgnn.objectives.keyed_choice import Int, first_of_each, graph_keys, numbered
from distgnn.objectives.negative_sampling import Neighbours

NAME = "l2p"
ANCHOR, POSITIVE, NEGATIVE, CHILD, QUERY = range(5)
_EDGE, _NEGATIVE = 1, 2


@dataclass(frozen=True)
class TaskBuilder:
    """Samples the extra ``l2p``: int32 rows [anchor u, positive v, negative v' or -1, child task, 1 if query].

    Ids are local to the graph. The rows of a graph are contiguous, support before query within a child task.
    """

    children: int
    support: int
    query: int

    def __call__(self, graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:
        """Return the extras: a pure function of (seed, epoch, graph id, stored edges)."""
        node_ptr, edge_ptr = graphs.node_ptr.numpy(), graphs.edge_ptr.numpy()
        keys = graph_keys(graphs, seed, PretrainDraw.TASKS, epoch)
        ptr, child, query = self._shares(np.diff(edge_ptr))
        owner = np.repeat(np.arange(graphs.num_graphs), np.diff(ptr))
        edge = _shuffled_edges(keys, edge_ptr, np.diff(ptr))
        words = draw((keys ^ np.uint64(_NEGATIVE))[owner], edge - edge_ptr[owner])
        neighbours = Neighbours(graphs)
        anchor, positive = neighbours.orient(np.take(graphs.edges.numpy(), edge, axis=1), words)
        negative = neighbours.draw_absent(anchor, words)
        start = node_ptr[owner]
        columns = anchor - start, positive - start, np.where(negative < 0, -1, negative - start), child, query
        rows = torch.from_numpy(np.stack(columns, axis=1, dtype=np.int32, casting="same_kind"))
        return {NAME: Ragged(rows, torch.from_numpy(ptr))}

    def _shares(self, edges: Int) -> tuple[Int, Int, Int]:
        """Return (ptr int64 [G+1] of sampled edges, child task of each sampled edge, 1 for each query edge)."""
        tasks = np.minimum(self.children, edges // 2)
        owner = np.repeat(np.arange(len(edges)), tasks)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(tasks) - tasks, tasks)
        share = edges[owner] // tasks[owner] + (number < edges[owner] % tasks[owner])
        sizes = np.minimum(share, self.support + self.query)
        query = np.clip(sizes * self.query // (self.support + self.query), 1, sizes - 1)
        counts = np.bincount(owner, weights=sizes, minlength=len(edges)).astype(np.int64)
        ends = np.cumsum(sizes)
        is_query = np.arange(sizes.sum()) >= np.repeat(ends - query, sizes)
        return np.concatenate([[0], np.cumsum(counts)]), np.repeat(number, sizes), is_query.astype(np.int64)


def _shuffled_edges(keys: UInt64, edge_ptr: Int, counts: Int) -> Int:
    """Return the sampled edges, batch-absolute: the first ``counts`` edges of each graph in a keyed order."""
    owner, rank = numbered(np.diff(edge_ptr))
    return first_of_each(draw((keys ^ np.uint64(_EDGE))[owner], rank), edge_ptr, counts)

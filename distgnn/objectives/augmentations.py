"""Two keyed views of every graph (You et al., "Graph contrastive learning with augmentations", NeurIPS 2020).

Readers choose what changes (:class:`Augmenter`), as extras; :func:`view_of` carries it out in the training step. Each view of
each graph draws one augmentation with uniform probability; of n things round(rate * n), at least one, change:
  drop_nodes       nodes go with their edges
  perturb_edges    edges are replaced by non-edges of the graph (dropped where there are none left); a new edge takes over the
                   attributes of the one it replaces, so that a graph's attributes stay what they were
  mask_attributes  nodes hide their input
  subgraph         nodes outside a connected part go: it grows hop by hop from a keyed root, the last hop's nodes in keyed
                   order (a root in a small component keeps that component)
At least one node always stays, and stays unhidden where the graph has two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch, Ragged, row_graph
from distgnn.graph.distances import hops
from distgnn.graph.keyed import UInt64, below, draw
from distgnn.graph.purposes import PretrainDraw
from distgnn.graph.subgraph import keep_edges, keep_nodes
from distgnn.objectives.keyed_choice import Int, first_of_each, graph_keys, numbered
from distgnn.objectives.negative_sampling import NonEdges

VIEWS = 2
_KEPT, _HIDDEN, _DROPPED = range(3)
_KIND, _NODE, _ROOT, _EDGE, _PAIR = range(5)
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Augmenter:
    """Makes for each view v the extras ``view{v}_nodes``, uint8 [N] (0 kept, 1 hidden, 2 dropped), and ``view{v}_edges``,
    int32 rows [edge, u, v] of edges that change: their new end nodes, -1 where the edge goes. Ids are local to the graph.

    augmentations: the names to draw from. rate: in (0, 1).
    """

    augmentations: tuple[str, ...]
    rate: float

    def __call__(self, graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:
        """A pure function of (seed, epoch, graph id, stored edges)."""
        keys = graph_keys(graphs, seed, PretrainDraw.VIEWS, epoch)
        non_edges = NonEdges(graphs) if "perturb_edges" in self.augmentations else None
        extras: dict[str, Ragged] = {}
        for number in range(VIEWS):
            view_keys = draw(keys, number)
            kinds = np.array(self.augmentations)[below(draw(view_keys, _KIND), np.array([len(self.augmentations)]))]
            extras[f"view{number}_nodes"] = self._nodes(graphs, kinds, view_keys)
            extras[f"view{number}_edges"] = self._edges(graphs, kinds == "perturb_edges", view_keys, non_edges)
        return extras

    def _nodes(self, graphs: GraphBatch, kinds: npt.NDArray[np.str_], keys: UInt64) -> Ragged:
        ptr = graphs.node_ptr.numpy()
        sizes = np.diff(ptr)
        changed = np.minimum(self._changed(sizes), sizes - 1)
        owner, rank = numbered(sizes)
        words = draw(draw(keys, _NODE)[owner], rank)
        state = np.full(len(owner), _KEPT, dtype=np.uint8)
        masked, grown = kinds == "mask_attributes", kinds == "subgraph"
        taken = first_of_each(words, ptr, np.where(masked | (kinds == "drop_nodes"), changed, 0))
        state[taken] = np.where(masked[owner[taken]], _HIDDEN, _DROPPED)
        state[grown[owner] & ~_connected(graphs, grown, sizes - changed, words, keys)] = _DROPPED
        return Ragged(torch.from_numpy(state), graphs.node_ptr)

    def _edges(self, graphs: GraphBatch, chosen: Bool, keys: UInt64, non_edges: NonEdges | None) -> Ragged:
        ptr = graphs.edge_ptr.numpy()
        owner, rank = numbered(np.diff(ptr))
        counts = np.where(chosen, self._changed(np.diff(ptr)), 0)
        edges = first_of_each(draw(draw(keys, _EDGE)[owner], rank), ptr, counts)
        ends = np.full((2, len(edges)), -1)
        if non_edges is not None:
            found = np.minimum(counts, non_edges.count)
            group, number = numbered(counts)
            _, u, v = non_edges.draw(draw(keys, _PAIR), found)
            ends[:, number < found[group]] = u, v
        rows = np.stack([rank[edges], *ends], axis=1, dtype=np.int32, casting="same_kind")
        return Ragged(torch.from_numpy(rows), torch.from_numpy(np.concatenate([[0], np.cumsum(counts)])))

    def _changed(self, counts: Int) -> Int:
        """How many of ``counts`` things change."""
        return np.minimum(np.maximum(np.rint(self.rate * counts).astype(np.int64), 1), counts)


def _connected(graphs: GraphBatch, chosen: Bool, counts: Int, words: UInt64, keys: UInt64) -> Bool:
    """bool [N]: in each chosen graph a connected set of ``counts`` nodes (fewer where the root's component is smaller)."""
    sizes, start = graphs.node_ptr.diff().numpy(), graphs.node_ptr.numpy()[:-1]
    owner, _ = numbered(sizes)
    edges = graphs.edges.numpy()
    roots = (start + below(draw(keys, _ROOT), sizes))[chosen]
    distance = hops(edges[:, chosen[owner[edges[0]]]], roots, len(owner))
    reached = np.flatnonzero(distance >= 0)
    order = reached[np.lexsort((words[reached], distance[reached], owner[reached]))]
    place = numbered(np.bincount(owner[reached], minlength=len(sizes)))[1]
    kept = np.zeros(len(owner), dtype=bool)
    kept[order[place < counts[owner[order]]]] = True
    return kept


def view_of(batch: GraphBatch, number: int) -> tuple[GraphBatch, Tensor]:
    """(view ``number`` of every graph, bool [its nodes]: which hide their input), from the extras in ``batch``."""
    changes = batch.extras[f"view{number}_edges"]
    owner = row_graph(changes.ptr)
    edge, *ends = changes.values.long().t()
    ends = torch.stack(ends)
    ends = torch.where(ends < 0, ends, ends + batch.node_ptr[owner])
    edges = batch.edges.index_copy(1, edge + batch.edge_ptr[owner], ends)
    rewired = keep_edges(replace(batch, edges=edges), edges[0] >= 0)
    state = batch.extras[f"view{number}_nodes"].values
    kept = state != _DROPPED
    return keep_nodes(rewired, kept), (state == _HIDDEN)[kept]

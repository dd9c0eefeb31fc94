"""Graph augmentations for contrastive learning (You et al., NeurIPS 2020), sampled with keyed randomness.

You et al., "Graph contrastive learning with augmentations". :class:`Augmenter` runs in the data readers and samples the
changes as extras of the batch; :func:`views_of` applies them in the training step. Each view of each graph uses one
augmentation, sampled uniformly. An augmentation changes round(rate * n) of n elements, at least one:
  drop_nodes       removes nodes and their edges
  perturb_edges    replaces edges by non-edges of the graph (or removes them if no non-edge is left); a new edge
                   inherits the attributes of the edge it replaces, so the distribution of attributes is unchanged
  mask_attributes  masks the input of nodes
  subgraph         keeps a connected subgraph, grown hop by hop from a keyed root, the nodes of the last hop in keyed
                   order (if the root's component is smaller, the subgraph is that component)
At least one node is always kept, and is not masked if the graph has two or more.
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
from distgnn.graph.subgraph import induced
from distgnn.objectives.keyed_choice import Int, first_of_each, graph_keys, numbered
from distgnn.objectives.negative_sampling import NonEdges

VIEWS = 2
_KEPT, _HIDDEN, _DROPPED = range(3)
_KIND, _NODE, _ROOT, _EDGE, _PAIR = range(5)
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Augmenter:
    """Samples the changes of both views.

    Produces for each view v the extras ``view{v}_nodes``, uint8 [N] (0 kept, 1 masked, 2 dropped), and
    ``view{v}_edges``, int32 rows [edge, u, v] of changed edges with their new end nodes, or -1 for removed edges. Ids
    are local to the graph.

    Args:
        augmentations: Names of the augmentations to sample from.
        rate: Fraction of elements that change, in (0, 1).
    """

    augmentations: tuple[str, ...]
    rate: float

    def __call__(self, graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:
        """Return the extras: a pure function of (seed, epoch, graph id, stored edges)."""
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
        """Return how many of ``counts`` elements change."""
        return np.minimum(np.maximum(np.rint(self.rate * counts).astype(np.int64), 1), counts)


def _connected(graphs: GraphBatch, chosen: Bool, counts: Int, words: UInt64, keys: UInt64) -> Bool:
    """Return bool [N]: in each chosen graph, a connected set of ``counts`` nodes, or the root's component if smaller."""
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


def views_of(batch: GraphBatch) -> list[tuple[GraphBatch, Tensor]]:
    """Apply the changes in the extras of ``batch``. The host waits for a device once.

    Returns:
        Each view of every graph, and bool [nodes of the view]: which nodes have a masked input.
    """
    states = [batch.extras[f"view{number}_nodes"].values for number in range(VIEWS)]
    parts = induced([(_rewired(batch, number), state != _DROPPED) for number, state in enumerate(states)])
    return [(view, (state == _HIDDEN)[rows]) for (view, rows), state in zip(parts, states, strict=True)]


def _rewired(batch: GraphBatch, number: int) -> GraphBatch:
    """Give the changed edges of a view their new end nodes, -1 for removed ones."""
    changes = batch.extras[f"view{number}_edges"]
    owner = row_graph(changes.ptr, changes.values.shape[0])
    edge, *ends = changes.values.long().t()
    ends = torch.stack(ends)
    ends = torch.where(ends < 0, ends, ends + batch.node_ptr[owner])
    return replace(batch, edges=batch.edges.index_copy(1, edge + batch.edge_ptr[owner], ends))

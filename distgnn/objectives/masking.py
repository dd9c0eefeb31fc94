"""Which nodes or edges are hidden: a keyed share of each graph's rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch, Ragged
from distgnn.graph.keyed import draw
from distgnn.graph.purposes import PretrainDraw
from distgnn.objectives.keyed_choice import first_of_each, graph_keys, numbered

NAME = "masked"
Of = Literal["node", "edge"]


@dataclass(frozen=True)
class MaskBuilder:
    """Makes the extra ``masked``: int32 [M], the hidden nodes or edges, numbered within their graph.

    A graph of n rows hides max(1, round(rate * n)) of them; one without rows hides none.
    """

    of: Of
    rate: float

    def __call__(self, graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:
        """A pure function of (seed, epoch, graph id, rows of the graph); batches and workers do not matter."""
        ptr = _pointers(graphs, self.of).numpy()
        counts = np.diff(ptr)
        take = np.minimum(np.maximum(np.rint(self.rate * counts).astype(np.int64), 1), counts)
        owner, rank = numbered(counts)
        words = draw(graph_keys(graphs, seed, PretrainDraw.MASK, epoch)[owner], rank)
        local = first_of_each(words, ptr, take) - np.repeat(ptr[:-1], take)
        taken = torch.from_numpy(np.concatenate([[0], np.cumsum(take)]))
        return {NAME: Ragged(torch.from_numpy(local.astype(np.int32)), taken)}


def hidden_rows(batch: GraphBatch, of: Of) -> Tensor:
    """int64 [M]: the hidden nodes or edges, numbered through the batch."""
    extra = batch.extras[NAME]
    return extra.values + torch.repeat_interleave(_pointers(batch, of)[:-1], extra.ptr.diff())


def _pointers(graphs: GraphBatch, of: Of) -> Tensor:
    return graphs.node_ptr if of == "node" else graphs.edge_ptr

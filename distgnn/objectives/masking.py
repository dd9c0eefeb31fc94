"""Keyed masks: which nodes or edges of each graph are masked."""

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
    """Samples the extra ``masked``: int32 [M], the masked nodes or edges, numbered within their graph.

    In a graph of n rows max(1, round(rate * n)) are masked; in a graph without rows, none.
    """

    of: Of
    rate: float

    def __call__(self, graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:
        """Return the extras: a pure function of (seed, epoch, graph id, rows of the graph)."""
        ptr = _pointers(graphs, self.of).numpy()
        counts = np.diff(ptr)
        take = np.minimum(np.maximum(np.rint(self.rate * counts).astype(np.int64), 1), counts)
        owner, rank = numbered(counts)
        words = draw(graph_keys(graphs, seed, PretrainDraw.MASK, epoch)[owner], rank)
        local = first_of_each(words, ptr, take) - np.repeat(ptr[:-1], take)
        taken = torch.from_numpy(np.concatenate([[0], np.cumsum(take)]))
        return {NAME: Ragged(torch.from_numpy(local.astype(np.int32)), taken)}


def hidden_rows(batch: GraphBatch, of: Of) -> Tensor:
    """Return int64 [M]: the masked nodes or edges, numbered within the batch."""
    extra = batch.extras[NAME]
    first, rows = _pointers(batch, of)[:-1], extra.values.shape[0]
    return extra.values + torch.repeat_interleave(first, extra.ptr.diff(), output_size=rows)


def _pointers(graphs: GraphBatch, of: Of) -> Tensor:
    return graphs.node_ptr if of == "node" else graphs.edge_ptr

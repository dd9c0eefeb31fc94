"""Dropout whose masks are keyed by row, so that they depend neither on the batch a row is in nor on the training process.

The mask of an activation is a function of (key, pass, row id, layer, column). It is computed by a multiplicative hash with 32
bits, which costs less than :func:`torch.nn.functional.dropout` on a CPU.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch
from distgnn.graph.keyed import draw, key


class Dropout:
    """Probability and key of an encoder's dropout.

    Masks of successive passes differ. Passes after :meth:`restart` with the same key repeat the masks.

    Args:
        probability: Probability of dropping an activation, in [0, 1).
    """

    def __init__(self, probability: float = 0.0) -> None:
        self.probability = probability
        self.restart(0)

    def restart(self, key: int) -> None:
        """Use the masks of ``key``, from the first pass on."""
        self._key, self._passes = key, 0

    def masks(self, rows: Tensor) -> Masks:
        """Return the masks of the next pass.

        Args:
            rows: int64 [N], ids of the rows of an activation.
        """
        self._passes += 1
        return Masks(self.probability, key(self._key, self._passes), rows)


class Masks:
    """Dropout masks of one pass over N rows.

    Args:
        probability: Probability of dropping an activation, in [0, 1).
        key: Key of the pass.
        rows: int64 [N], ids of the rows.
    """

    def __init__(self, probability: float, key: int, rows: Tensor) -> None:
        self.probability, self.key, self.rows = probability, key, rows

    def take(self, chosen: Tensor) -> Masks:
        """Return the masks of some rows; chosen: bool [N]."""
        return Masks(self.probability, self.key, self.rows[chosen])

    def drop(self, x: Tensor, layer: int) -> Tensor:
        """Drop activations, and scale what is left by 1 / (1 - probability).

        Args:
            x: float [N, width], activations after a layer.
            layer: Number of the layer; masks of different layers are independent.

        Returns:
            [N, width].
        """
        row, column = self._words(x.shape[1], layer)
        word = row[:, None] + column
        for multiplier, shift in zip(_MULTIPLIERS, (16, 15), strict=True):
            word ^= word >> shift
            word *= multiplier
        kept = word >= min(round(self.probability * 2**32) - 2**31, 2**31 - 1)
        return x * kept.to(x.dtype).mul_(1 / (1 - self.probability))

    def _words(self, width: int, layer: int) -> tuple[Tensor, Tensor]:
        """Return one int32 word per row [N] and one per column [width]."""
        start, *columns = draw(key(self.key, layer), np.arange(width + 1, dtype=np.uint64)).view(np.int64).tolist()
        row = (self.rows ^ start) * _ROW_MULTIPLIERS[0]
        row = (row ^ (row >> 32)) * _ROW_MULTIPLIERS[1]
        return _folded(row), _folded(torch.tensor(columns, device=row.device))


_ROW_MULTIPLIERS = 0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9
_MULTIPLIERS = 0x7FEB352D, 0x6C8E9CF5


def _folded(word: Tensor) -> Tensor:
    """Return the upper and lower 32 bits of int64 words put together, int32."""
    return (word ^ (word >> 32)).to(torch.int32)


def node_ids(batch: GraphBatch) -> Tensor:
    """Return an id per node, int64 [N], from its graph's id and its position within the graph."""
    counts = batch.node_ptr.diff()
    upper = (batch.graph_id >> 32) * _ROW_MULTIPLIERS[0]  # 0 for the ids that a corpus numbers itself
    start = (batch.graph_id << 32) + upper - batch.node_ptr[:-1]
    nodes = torch.arange(batch.num_nodes, device=batch.node_ptr.device)
    return nodes + start.repeat_interleave(counts, output_size=batch.num_nodes)

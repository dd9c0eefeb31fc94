"""How attention runs through a batch: weights on messages, and the weighted sum of what their sources send."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from distgnn.models.ops.messages import Messages
from distgnn.models.ops.segments import Rows
from distgnn.models.ops.sparse import SparseMap

_MOST_SLOTS = 32
"""Squares of whole graphs are multiplied while they hold at most this many times the messages; beyond, rows are gathered."""


class Attention:
    """Constants of one batch for attention over each node's messages.

    nodes: nodes grouped by graph. attributes: [M, attributes + 1] of the messages.
    """

    def __init__(self, messages: Messages, nodes: Rows, attributes: Tensor) -> None:
        self.messages, self.attributes, self._nodes = messages, attributes, nodes
        self._grouped: dict[Rows, Rows] = {}

    @cached_property
    def incoming(self) -> Rows:
        """Messages grouped by target node."""
        every = torch.arange(self._nodes.owner.numel() + 1, device=self.messages.target.device)
        return Rows(torch.searchsorted(self.messages.target, every))

    def grouped(self, nodes: Rows) -> Rows:
        """Messages grouped as their target nodes are."""
        if nodes not in self._grouped:
            self._grouped[nodes] = Rows(torch.searchsorted(self.messages.target, nodes.ptr))
        return self._grouped[nodes]

    @cached_property
    def source(self) -> SparseMap:
        """[M, N]: picks each message's source."""
        return SparseMap.select(self.messages.source, self._nodes.owner.numel())

    def weights(self, scores: Tensor) -> Tensor:
        """[M, heads] -> same: softmax over each node's incoming messages."""
        return self.incoming.softmax(scores)

    def weighted_sum(self, weights: Tensor, values: Tensor) -> Tensor:
        """Per node the sum over its messages and heads h of weight^h * value^h: [M, heads], [N, heads * d] -> [N, d].

        Small graphs are squares of weights, multiplied by BLAS; large sparse ones gather a row for each message.
        """
        if self._squares is None:
            sent = self.source(values).unflatten(1, (weights.shape[1], -1))
            return self.incoming.sum((sent * weights.unsqueeze(2)).sum(1))
        padding, squares = self._nodes.padding, self._squares(weights)
        parts = []
        cut = squares.split([b * size * size for b, size in padding.shapes])
        for square, value, (b, size) in zip(cut, padding.pad(values), padding.shapes, strict=True):
            heads_apart = b, size * weights.shape[1], -1
            parts.append(torch.bmm(square.reshape(b, size, -1), value.reshape(heads_apart)))
        return padding.unpad(parts)

    @cached_property
    def _squares(self) -> SparseMap | None:
        """[slots, M]: puts each message into its graph's square; None where there is none or squares would be far larger."""
        padding, count = self._nodes.padding, self.messages.target.numel()
        slots = sum(b * size * size for b, size in padding.shapes)
        if not count or slots > _MOST_SLOTS * count:
            return None
        place = padding.pair_slots(self.messages.target, self.messages.source)
        return SparseMap.from_pairs(place, torch.arange(count, device=place.device), (slots, count))

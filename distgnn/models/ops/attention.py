"""Attention over the messages of a batch: softmax of scores per target node and weighted sums of source values."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from distgnn.models.ops.messages import Messages
from distgnn.models.ops.segments import Segments
from distgnn.models.ops.sparse import SparseMap

_MOST_SLOTS = 32
"""Largest ratio of matrix entries to messages for which dense per-graph attention matrices are used."""


class Attention:
    """Constants of one batch for attention over the messages of each node.

    Args:
        messages: M messages.
        nodes: N nodes grouped by graph.
        attributes: float [M, attributes + 1], edge attributes of the messages.
        before: Returns int64 [N + 1] on the host, the number of messages to the nodes before each node, or None if the device
            has to be asked. Called where it is needed.
    """

    def __init__(
        self, messages: Messages, nodes: Segments, attributes: Tensor, before: Callable[[], Tensor | None]
    ) -> None:
        self.messages, self.attributes, self._nodes, self._before = messages, attributes, nodes, before
        self._grouped: dict[Segments, Segments] = {}

    @cached_property
    def incoming(self) -> Segments:
        """Messages grouped by target node."""
        every = torch.arange(self._nodes.owner.numel() + 1, device=self.messages.target.device)
        return Segments(torch.searchsorted(self.messages.target, every), self.messages.target.numel())

    def grouped(self, nodes: Segments) -> Segments:
        """Group the messages by the groups of their target nodes."""
        if nodes not in self._grouped:
            ends, before = torch.searchsorted(self.messages.target, nodes.ptr), self._before()
            host = None if before is None else before[nodes.host]
            self._grouped[nodes] = Segments(ends, self.messages.target.numel(), host)
        return self._grouped[nodes]

    @cached_property
    def source(self) -> SparseMap:
        """Map [M, N] that selects the source node of each message."""
        return SparseMap.select(self.messages.source, self._nodes.owner.numel())

    def weights(self, scores: Tensor) -> Tensor:
        """Normalise scores by a softmax over the incoming messages of each node.

        Shape:
            scores [M, heads] -> [M, heads].
        """
        return self.incoming.softmax(scores)

    def weighted_sum(self, weights: Tensor, values: Tensor) -> Tensor:
        """Sum weights[m, h] * values[source of m, h] over the incoming messages m of each node and over heads h.

        Small graphs use dense attention matrices and BLAS; large sparse ones gather one row per message.

        Shape:
            weights [M, heads], values [N, heads * d] -> [N, d].
        """
        if self._squares is None:
            source_values = self.source(values).unflatten(1, (weights.shape[1], -1))
            return self.incoming.sum((source_values * weights.unsqueeze(2)).sum(1))
        padding, squares = self._nodes.padding, self._squares(weights)
        parts = []
        matrices = squares.split([b * size * size for b, size in padding.shapes])
        for square, value, (b, size) in zip(matrices, padding.pad(values), padding.shapes, strict=True):
            split_heads = b, size * weights.shape[1], -1
            parts.append(torch.bmm(square.reshape(b, size, -1), value.reshape(split_heads)))
        return padding.unpad(parts)

    @cached_property
    def _squares(self) -> SparseMap | None:
        """Map [slots, M] of each message into its graph's dense matrix; None if those would be far larger than the messages."""
        padding, count = self._nodes.padding, self.messages.target.numel()
        slots = sum(b * size * size for b, size in padding.shapes)
        if not count or slots > _MOST_SLOTS * count:
            return None
        slot = padding.pair_slots(self.messages.target, self.messages.source)
        return SparseMap.from_pairs(slot, torch.arange(count, device=slot.device), (slots, count))

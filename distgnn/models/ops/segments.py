"""Rows that belong to graphs: sums and broadcasts within graphs, and a padded view in a few size classes."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from distgnn.graph.batch import row_graph
from distgnn.models.ops.sparse import SparseMap

_CLASSES = 9


class Rows:
    """ptr: int64 [groups + 1]; group g owns rows ptr[g]:ptr[g+1]."""

    def __init__(self, ptr: Tensor) -> None:
        self.ptr = ptr

    @cached_property
    def sizes(self) -> list[int]:
        """Rows of each group."""
        return self.ptr.diff().tolist()

    @cached_property
    def owner(self) -> Tensor:
        """int64 [rows]: group of each row."""
        return row_graph(self.ptr)

    @cached_property
    def membership(self) -> SparseMap:
        """The map [groups, rows]."""
        return SparseMap.select(self.owner, self.ptr.numel() - 1).t

    def sum(self, x: Tensor) -> Tensor:
        """[rows, d] -> [groups, d]; groups without rows give 0."""
        return self.membership(x)

    def mean(self, x: Tensor) -> Tensor:
        """[rows, d] -> [groups, d]; groups without rows give 0."""
        return self.sum(x) / self.ptr.diff().clamp(min=1).to(x.dtype).unsqueeze(1)

    def expand(self, values: Tensor) -> Tensor:
        """[groups, d] -> [rows, d]: every row gets its group's value."""
        return self.membership.t(values)

    def softmax(self, scores: Tensor) -> Tensor:
        """[rows, d] -> same: positive, adding up to 1 within each group and column."""
        owner, groups = self.owner.unsqueeze(1).expand_as(scores), self.ptr.numel() - 1
        top = scores.new_full((groups, scores.shape[1]), -torch.inf).scatter_reduce(0, owner, scores.detach(), "amax")
        raised = torch.exp(scores - top.gather(0, owner))
        return raised / self.expand(self.sum(raised))

    @cached_property
    def padding(self) -> Padding:
        """The rows' padded view."""
        return Padding(self.ptr)


class Padding:
    """Graphs padded to the largest of their size class. Classes are geometric between the smallest and the largest graph:
    padding all graphs of a ragged batch to the largest costs about three times more.

    shapes: (B, L) per class, slots of classes end to end. index: int64 [slots], each slot's row (0 where padded).
    mask: bool [slots, 1], False where padded. inverse: int64 [rows], each row's slot.
    """

    def __init__(self, ptr: Tensor) -> None:
        host = ptr.cpu()
        counts = host.diff()
        order, self.shapes = _size_classes(counts)
        lengths = torch.cat([torch.full((b,), size) for b, size in self.shapes] or [counts[:0]])
        graph = torch.repeat_interleave(order, lengths)
        place = torch.arange(graph.numel()) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
        real = place < counts[graph]
        index = torch.where(real, host[graph] + place, 0)
        inverse = torch.zeros(int(host[-1]), dtype=torch.int64)
        inverse[index[real]] = torch.nonzero(real).flatten()
        self.index, self.mask = index.to(ptr.device), real.unsqueeze(1).to(ptr.device)
        self.inverse = inverse.to(ptr.device)

    def pad(self, x: Tensor) -> list[Tensor]:
        """[rows, d] -> per class [B, L, d], zeros where padded."""
        return self.squares(_Pad.apply(x, self))  # pyright: ignore[reportArgumentType]

    def slots(self, x: Tensor, masked: bool) -> Tensor:
        """[rows, d] -> [slots, d]; where padded, zeros if ``masked`` and some row or other if not. Not to be differentiated."""
        slots = x.index_select(0, self.index)
        return slots.mul_(self.mask) if masked else slots

    def squares(self, slots: Tensor) -> list[Tensor]:
        """[slots, d] -> per class [B, L, d], views of it."""
        parts = slots.split([b * size for b, size in self.shapes])
        return [part.view(b, size, slots.shape[1]) for part, (b, size) in zip(parts, self.shapes, strict=True)]

    def pair_slots(self, i: Tensor, j: Tensor) -> Tensor:
        """int64 [k]: place of the pair of rows (i, j) of one graph where each class holds squares [B, L, L], end to end."""
        count, size = torch.tensor(self.shapes, device=i.device).t()
        rows, first = self.inverse[i], (count * size).cumsum(0) - count * size
        kind = torch.bucketize(rows, first, right=True) - 1
        before = (count * size * size).cumsum(0) - count * size * size
        column = (self.inverse[j] - first[kind]) % size[kind]
        return before[kind] + (rows - first[kind]) * size[kind] + column

    def unpad(self, parts: list[Tensor]) -> Tensor:
        """The inverse of :meth:`pad`; what stands in padded slots is dropped."""
        return _Unpad.apply(torch.cat([part.flatten(0, 1) for part in parts]), self)  # pyright: ignore[reportReturnType]


def _size_classes(counts: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """(graphs with rows, class after class; (graphs, largest size) of each class that has any)."""
    present = torch.nonzero(counts > 0).flatten()
    if not present.numel():
        return present, []
    sizes = counts[present].double()
    low, high = float(sizes.min()), float(sizes.max())
    limits = low * (high / low) ** (torch.arange(1, _CLASSES, dtype=torch.float64) / _CLASSES)
    kind = torch.bucketize(sizes, limits)
    members = [present[kind == number] for number in range(_CLASSES)]
    members = [graphs for graphs in members if graphs.numel()]
    return torch.cat(members), [(graphs.numel(), int(counts[graphs].max())) for graphs in members]


class _Pad(torch.autograd.Function):
    """A gather into slots whose derivative is the gather back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: Padding) -> Tensor:
        ctx.padding = padding
        return padding.slots(x, masked=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Unpad.apply(grads[0], ctx.padding), None  # pyright: ignore[reportReturnType]

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Pad.apply(tangents[0], ctx.padding)  # pyright: ignore[reportReturnType]


class _Unpad(torch.autograd.Function):
    """A gather from slots whose derivative is the padding."""

    @staticmethod
    def forward(ctx: Any, slots: Tensor, padding: Padding) -> Tensor:
        ctx.padding = padding
        return slots.index_select(0, padding.inverse)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Pad.apply(grads[0], ctx.padding), None  # pyright: ignore[reportReturnType]

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Unpad.apply(tangents[0], ctx.padding)  # pyright: ignore[reportReturnType]

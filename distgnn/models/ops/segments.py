"""Segment operations over rows grouped by graph: sum, mean, expand, softmax, and padding by size class."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from distgnn.graph.batch import row_graph, to_device
from distgnn.models.ops.sparse import SparseMap

_CLASSES = 9


class Segments:
    """Contiguous groups of rows.

    Args:
        ptr: int64 [groups + 1]; group g owns rows ptr[g]:ptr[g+1].
        rows: ptr[-1], if it is known on the host.
        host: ptr on the host, if it is known there.
    """

    def __init__(self, ptr: Tensor, rows: int | None = None, host: Tensor | None = None) -> None:
        self.ptr, self._rows, self._host = ptr, rows, host

    @cached_property
    def host(self) -> Tensor:
        """``ptr`` on the host, which waits for the device once unless it was given."""
        return self.ptr.cpu() if self._host is None else self._host

    @cached_property
    def sizes(self) -> list[int]:
        """Number of rows of each group."""
        return self.host.diff().tolist()

    @cached_property
    def owner(self) -> Tensor:
        """Group of each row, int64 [rows]."""
        return row_graph(self.ptr, self._rows)

    @cached_property
    def membership(self) -> SparseMap:
        """Sparse map [groups, rows] that sums the rows of each group."""
        return SparseMap.select(self.owner, self.ptr.numel() - 1).t

    def sum(self, x: Tensor) -> Tensor:
        """Sum within groups, [rows, d] -> [groups, d]; empty groups give 0."""
        return self.membership(x)

    def mean(self, x: Tensor) -> Tensor:
        """Average within groups, [rows, d] -> [groups, d]; empty groups give 0."""
        return self.sum(x) / self.ptr.diff().clamp(min=1).to(x.dtype).unsqueeze(1)

    def expand(self, values: Tensor) -> Tensor:
        """Copy each group's value to its rows, [groups, d] -> [rows, d]."""
        return self.membership.t(values)

    def softmax(self, scores: Tensor) -> Tensor:
        """Softmax within each group and column, [rows, d] -> [rows, d]."""
        owner, groups = self.owner.unsqueeze(1).expand_as(scores), self.ptr.numel() - 1
        maximum = scores.new_full((groups, scores.shape[1]), -torch.inf).scatter_reduce(
            0, owner, scores.detach(), "amax"
        )
        exponentials = torch.exp(scores - maximum.gather(0, owner))
        return exponentials / self.expand(self.sum(exponentials))

    @cached_property
    def padding(self) -> Padding:
        """Padded layout of the rows."""
        return Padding(self.host, self.ptr.device)


class Padding:
    """Graphs padded to the largest graph of their size class.

    Classes are geometric between the smallest and the largest graph; padding a ragged batch to its largest graph costs
    about three times more.

    Args:
        host: Pointers to the rows of each graph, on the host.
        device: Device of the rows.

    Attributes:
        shapes: (graphs B, padded size L) per class; the slots of classes are concatenated.
        index: int64 [slots], row of each slot (0 where padded).
        mask: bool [slots, 1], False where padded.
        inverse: int64 [rows], slot of each row.
    """

    def __init__(self, host: Tensor, device: torch.device) -> None:
        counts = host.diff()
        order, self.shapes = _size_classes(counts)
        lengths = torch.cat([torch.full((b,), size) for b, size in self.shapes] or [counts[:0]])
        graph = torch.repeat_interleave(order, lengths)
        place = torch.arange(graph.numel()) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
        real = place < counts[graph]
        index = torch.where(real, host[graph] + place, 0)
        inverse = torch.zeros(int(host[-1]), dtype=torch.int64)
        inverse[index[real]] = torch.nonzero(real).flatten()
        self.index, self.mask, self.inverse = (to_device(each, device) for each in (index, real.unsqueeze(1), inverse))

    def pad(self, x: Tensor) -> list[Tensor]:
        """Pad rows, [rows, d] -> one [B, L, d] per class, zero where padded."""
        return self.squares(_Pad.apply(x, self))  # pyright: ignore[reportArgumentType]

    def slots(self, x: Tensor, masked: bool) -> Tensor:
        """Gather rows into slots, [rows, d] -> [slots, d], without autograd; padding is zero if ``masked``, else arbitrary."""
        slots = x.index_select(0, self.index)
        return slots.mul_(self.mask) if masked else slots

    def squares(self, slots: Tensor) -> list[Tensor]:
        """View slots by class, [slots, d] -> one [B, L, d] per class."""
        parts = slots.split([b * size for b, size in self.shapes])
        return [part.view(b, size, slots.shape[1]) for part, (b, size) in zip(parts, self.shapes, strict=True)]

    def pair_slots(self, i: Tensor, j: Tensor) -> Tensor:
        """Return the flat position of pairs of rows in the concatenated [B, L, L] matrices of all classes.

        Args:
            i: int64 [k], first rows.
            j: int64 [k], second rows, of the same graphs.

        Returns:
            int64 [k].
        """
        count, size = to_device(torch.tensor(self.shapes), i.device).t()
        rows, first = self.inverse[i], (count * size).cumsum(0) - count * size
        kind = torch.bucketize(rows, first, right=True) - 1
        before = (count * size * size).cumsum(0) - count * size * size
        column = (self.inverse[j] - first[kind]) % size[kind]
        return before[kind] + (rows - first[kind]) * size[kind] + column

    def unpad(self, parts: list[Tensor]) -> Tensor:
        """Invert :meth:`pad`; padded slots are dropped."""
        return _Unpad.apply(torch.cat([part.flatten(0, 1) for part in parts]), self)  # pyright: ignore[reportReturnType]


def _size_classes(counts: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """Return non-empty graphs ordered by class, and (number of graphs, largest size) of each non-empty class."""
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
    """Gather into slots; its derivative is the gather back."""

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
    """Gather from slots; its derivative is the padding."""

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

"""Groups whose rows are not contiguous, such as messages with self-loops appended."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from distgnn.graph.batch import group_sizes
from distgnn.models.ops.segments import Padding, Segments


class ScatteredSegments(Segments):
    """Rows in any order. ``ptr`` and ``sizes`` refer to the rows in ``order``.

    Args:
        owner: int64 [rows], group of each row.
        groups: number of groups.
    """

    def __init__(self, owner: Tensor, groups: int) -> None:
        counts = group_sizes(owner, groups)
        super().__init__(torch.cat([counts.new_zeros(1), counts.cumsum(0)]), owner.numel())
        self._owner = owner

    @cached_property
    def owner(self) -> Tensor:
        """Group of each row, int64 [rows]."""
        return self._owner

    @cached_property
    def order(self) -> Tensor:
        """Row indices sorted by group, int64 [rows]."""
        return torch.argsort(self._owner, stable=True)

    @cached_property
    def inverse(self) -> Tensor:
        """Position of each row in ``order``, int64 [rows]."""
        return torch.argsort(self.order)

    @cached_property
    def padding(self) -> Padding:
        """Padded layout of the rows."""
        padding = Padding(self.host, self.ptr.device)
        padding.index, padding.inverse = self.order[padding.index], padding.inverse[self.inverse]
        return padding

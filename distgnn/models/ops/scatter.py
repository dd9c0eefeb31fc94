"""Rows in any order that belong to groups, such as messages with self-loops at their end."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from distgnn.models.ops.segments import Padding, Rows


class ScatteredRows(Rows):
    """owner: int64 [rows], the group of each row. ``ptr`` and ``sizes`` are those of the rows in ``order``."""

    def __init__(self, owner: Tensor, groups: int) -> None:
        counts = torch.bincount(owner, minlength=groups)
        super().__init__(torch.cat([counts.new_zeros(1), counts.cumsum(0)]))
        self._owner = owner

    @cached_property
    def owner(self) -> Tensor:
        """int64 [rows]: group of each row."""
        return self._owner

    @cached_property
    def order(self) -> Tensor:
        """int64 [rows]: the rows, group by group."""
        return torch.argsort(self._owner, stable=True)

    @cached_property
    def inverse(self) -> Tensor:
        """int64 [rows]: each row's place in ``order``."""
        return torch.argsort(self.order)

    @cached_property
    def padding(self) -> Padding:
        """The rows' padded view."""
        padding = Padding(self.ptr)
        padding.index, padding.inverse = self.order[padding.index], padding.inverse[self.inverse]
        return padding

"""What this floor knows of several training processes; the engine's World is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Ranks(Protocol):
    """This process's number among ``size``, the device it computes on, and sums over all of them."""

    @property
    def rank(self) -> int:
        """0..size - 1."""
        ...

    @property
    def size(self) -> int:
        """How many processes take part."""
        ...

    @property
    def device(self) -> torch.device:
        """Where this one computes."""
        ...

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes and shows things."""
        ...

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """``tensor`` (float32 or float64, on ``device``) replaced by its sum over ranks; the same bits on every rank."""
        ...


@dataclass(frozen=True)
class Alone:
    """One process, no communication."""

    device: torch.device
    rank: int = 0
    size: int = 1
    leads: bool = True

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

"""Who takes part in a run. The only file that knows torch.distributed; everything else takes a World."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from distgnn.errors import RequestError


@dataclass(frozen=True)
class World:
    """This process's number among ``size`` training processes, and the device it computes on."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def alone(cls, device: torch.device) -> World:
        """One process, no communication."""
        return cls(0, 1, device)

    @classmethod
    def detect(cls, device: torch.device) -> World:
        """The world of the process group that is already up, or :meth:`alone` where there is none."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls.alone(device)
        return cls(dist.get_rank(), dist.get_world_size(), device)

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes and shows things."""
        return self.rank == 0

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """``tensor`` (float32 or float64, on ``device``) replaced by its sum over ranks; the same bits on every rank."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def agrees(self, values: Tensor) -> bool:
        """Whether ``values`` (float64 [n], no NaN) are exactly the same on every rank; a collective, the answer is everyone's."""
        bounds = torch.stack([values, -values]).to(self.device)
        if self.size > 1:
            dist.all_reduce(bounds, op=dist.ReduceOp.MAX)
        return bool((bounds[0] == -bounds[1]).all())

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined(rank: int, size: int, method: str, device: torch.device) -> Iterator[World]:
    """The world of a process group of its own, met at ``method`` (tcp://HOST:PORT or file://PATH) within a minute."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=method, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    try:
        yield World(rank, size, device)
    finally:
        dist.destroy_process_group()


def choose_device(name: str) -> torch.device:
    """The device for 'auto', 'cpu' or 'cuda'; raises RequestError where a GPU is asked for and there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise RequestError("train.device=cuda: no usable GPU on this machine; use train.device=cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")

"""Process groups of distributed training; the only module that imports torch.distributed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from distgnn.errors import RequestError


@dataclass(frozen=True)
class ProcessGroup:
    """The training processes and this process's rank among them.

    Args:
        rank: The index of this process, 0 to ``world_size - 1``.
        world_size: The number of processes.
        device: The device this process computes on.
    """

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def single_process(cls, device: torch.device) -> ProcessGroup:
        """A group of one process, whose collectives are no-ops."""
        return cls(0, 1, device)

    @classmethod
    def detect(cls, device: torch.device) -> ProcessGroup:
        """The initialized default group of torch.distributed, or :meth:`single_process` if there is none."""
        if not is_joined():
            return cls.single_process(device)
        return cls(dist.get_rank(), dist.get_world_size(), device)

    @property
    def is_main_process(self) -> bool:
        """Whether this is rank 0, the only one that writes files and shows progress."""
        return self.rank == 0

    def leave(self) -> None:
        """Destroy the group that :func:`join` has initialized."""
        if self.world_size > 1:
            dist.destroy_process_group()

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Replace ``tensor`` (float32 or float64, on ``device``) by its sum over ranks, in place.

        Returns:
            The same tensor, bitwise equal on all ranks.
        """
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def timed_all_reduce(self, tensor: Tensor) -> tuple[Tensor, Callable[[], float]]:
        """Like :meth:`all_reduce`.

        Returns:
            The tensor, and a function that returns the seconds that this took, waiting for slower ranks included. Call it after
            a value of the tensor has been read on the host.
        """
        if tensor.device.type != "cuda":
            start = time.perf_counter()
            self.all_reduce(tensor)
            seconds = time.perf_counter() - start
            return tensor, lambda: seconds
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        self.all_reduce(tensor)
        last.record()
        return tensor, lambda: first.elapsed_time(last) / 1e3

    def agrees(self, values: Tensor) -> bool:
        """Whether ``values`` are exactly equal on all ranks. Collective; every rank gets the same answer.

        Shape:
            - values: float64 [n], without NaN
        """
        bounds = torch.stack([values, -values]).to(self.device)
        if self.world_size > 1:
            dist.all_reduce(bounds, op=dist.ReduceOp.MAX)
        return bool((bounds[0] == -bounds[1]).all())

    def barrier(self) -> None:
        """Block until all ranks have called this method."""
        if self.world_size > 1:
            dist.barrier()


def is_joined() -> bool:
    """Whether this process has a default group of torch.distributed."""
    return dist.is_available() and dist.is_initialized()


def join(
    rank: int, world_size: int, method: str, device: torch.device, seconds: float, backend: str | None = None
) -> ProcessGroup:
    """Initialize the default process group of torch.distributed, unless there is one process only.

    Args:
        rank: The index of this process.
        world_size: The number of processes.
        method: Rendezvous, tcp://HOST:PORT or file://PATH.
        device: The device this process computes on.
        seconds: Longest time to wait for the other processes, here and in each collective.
        backend: Backend of torch.distributed; NCCL for a GPU and Gloo for a CPU by default. NCCL refuses processes that share a
            GPU, Gloo does not.
    """
    chosen, timeout = backend or ("nccl" if device.type == "cuda" else "gloo"), timedelta(seconds=seconds)
    if world_size > 1:
        dist.init_process_group(chosen, init_method=method, rank=rank, world_size=world_size, timeout=timeout)
    return ProcessGroup(rank, world_size, device)


@contextmanager
def joined(
    rank: int, world_size: int, method: str, device: torch.device, backend: str | None = None
) -> Iterator[ProcessGroup]:
    """Context manager that initializes a process group with :func:`join`, within a minute, and destroys it on exit."""
    group = join(rank, world_size, method, device, seconds=60.0, backend=backend)
    try:
        yield group
    finally:
        group.leave()


def choose_device(name: str) -> torch.device:
    """The device for ``'auto'``, ``'cpu'`` or ``'cuda'``.

    Raises:
        RequestError: If a GPU is requested and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise RequestError("train.device=cuda: no usable GPU on this machine; use train.device=cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def uses_gpus(device: str, option: str, gpus: float, processes: int, count: str) -> bool:
    """Whether the processes of a training on a Ray cluster reserve a GPU each. They do not fall back to CPUs if there are GPUs.

    Args:
        device: 'auto', 'cpu' or 'cuda'.
        option: Name of the option that chooses the device.
        gpus: GPUs of the cluster, those included that its autoscaler may add.
        processes: Number of processes.
        count: Name of the option that chooses their number.

    Raises:
        RequestError: If there are too few GPUs for 'cuda', or some but too few for 'auto'.
    """
    if device == "cpu" or gpus >= processes:
        return device != "cpu"
    if device == "cuda" or gpus:
        raise RequestError(
            f"{option}={device}: {count}={processes} need {processes} GPUs, but the Ray cluster has {gpus:g}, those included that"
            f" it may add; lower {count}, let the autoscaler add more, or choose {option}=cpu"
        )
    return False

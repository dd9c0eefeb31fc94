"""One rank of a training on Ray Train."""

from __future__ import annotations

from typing import Any

import ray
import torch
from ray.train import get_context
from ray.train.collective import broadcast_from_rank_zero

from distgnn.distributed import join
from distgnn.loading import load_function
from distgnn.scale.address import rendezvous

_COLLECTIVE_SECONDS = 1800.0
"""Longest time that a rank waits for the others in a collective, before which these may validate or write a checkpoint."""


def run(work: str, settings: Any, gpu: bool) -> None:
    """Join the process group and call the work of the training.

    Args:
        work: Entry point of a function of its settings and the process group.
        settings: Reference to its settings.
        gpu: Whether the rank has a GPU.
    """
    function = load_function(work, freeze=True)
    device = load_function("ray.train.torch:get_device")() if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    rank = get_context().get_world_rank()
    method = broadcast_from_rank_zero("" if rank else rendezvous())
    group = join(rank, get_context().get_world_size(), method, device, _COLLECTIVE_SECONDS)
    function(ray.get(settings), group)
    group.leave()  # not after an error: other ranks may wait in a collective, and the controller ends the processes

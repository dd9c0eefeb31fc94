"""One rank of a training on Ray Train."""

from __future__ import annotations

from typing import Any

import ray
import torch
from ray.train import get_context
from ray.train.collective import broadcast_from_rank_zero

from distgnn.distributed import ProcessGroup, is_joined, join
from distgnn.loading import load_function
from distgnn.scale.address import rendezvous

_COLLECTIVE_SECONDS = 1800.0
"""Longest time that a rank waits for the others in a collective, before which these may validate or write a checkpoint."""


def run(work: str, settings: Any) -> None:
    """Join the process group, unless TorchTrainer has formed it, and call the work of the training.

    Args:
        work: Entry point of a function of its settings and the process group.
        settings: Reference to its settings.
    """
    function = load_function(work, freeze=True)
    if is_joined():
        function(ray.get(settings), ProcessGroup.detect(load_function("ray.train.torch:get_device")()))
        return
    rank = get_context().get_world_rank()
    method = broadcast_from_rank_zero("" if rank else rendezvous())
    group = join(rank, get_context().get_world_size(), method, torch.device("cpu"), _COLLECTIVE_SECONDS)
    function(ray.get(settings), group)
    group.leave()  # not after an error: other ranks may wait in a collective, and the controller ends the processes

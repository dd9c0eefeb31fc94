"""How Ray Train starts the ranks of a training.

Ray's TorchTrainer imports torch in the controller too, before it starts any rank. Here the controller imports this module, and the
ranks import torch and what they train, by its entry point, and form the process group themselves.
"""

from __future__ import annotations

from typing import Any

from ray.train import BackendConfig
from ray.train.backend import Backend

from distgnn.loading import load_function


class _SharedGpus(Backend):
    """Each rank sees all GPUs of its node, so that NCCL uses the connections between them, as with TorchTrainer."""

    share_cuda_visible_devices: bool = True


class RanksConfig(BackendConfig):
    """Config of ranks that form the process group themselves."""

    @property
    def backend_cls(self) -> type[Backend]:
        """Class of the backend."""
        return _SharedGpus


def run_rank(settings: dict[str, Any]) -> None:
    """Run one rank; see :func:`distgnn.scale.train.rank.run`."""
    load_function("distgnn.scale.train.rank:run", freeze=True)(**settings)

"""Floating-point precision of a run. Weights, gradients and Adam's state are always float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from distgnn.config import TrainConfig


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Context for computing losses: with bf16, dense products use bfloat16; sparse sums stay in float32."""
    return torch.autocast(device.type, torch.bfloat16) if config.precision == "bf16" else nullcontext()


@contextmanager
def matrix_products(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Context for training: with tf32 on a GPU, float32 matrix products use TensorFloat-32. The setting is restored on exit."""
    if config.precision != "tf32" or device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)

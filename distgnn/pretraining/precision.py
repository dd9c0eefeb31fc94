"""In which precision a run computes. Weights, their gradients and Adam are float32 throughout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from distgnn.config import TrainConfig


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """The context in which losses are computed: with bf16, dense products take bfloat16 (sparse sums stay in float32)."""
    return torch.autocast(device.type, torch.bfloat16) if config.precision == "bf16" else nullcontext()


@contextmanager
def matrix_products(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """float32 products of a whole training, backward passes included: in TensorFloat-32 with tf32 on a GPU; then as before."""
    if config.precision != "tf32" or device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)

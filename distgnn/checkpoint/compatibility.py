"""Compatibility check of saved weights with an encoder config, without allocating the encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from distgnn import register
from distgnn.checkpoint.training_state import check_weights
from distgnn.config import EncoderConfig
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.models.encoder import build_encoder


def check_compatible(schema: Schema, config: EncoderConfig, weights: dict[str, Tensor], where: str) -> None:
    """Check that ``weights`` have the names and shapes of the encoder of (``schema``, ``config``).

    A file from elsewhere may claim any size, so the encoder is built on the "meta" device, without memory. Only built-in
    encoder kinds are checked; registered ones are checked when they are loaded.

    Args:
        schema: Node and edge features that the encoder reads.
        config: The encoder's config.
        weights: Tensors by name, as in ``Encoder.state_dict()``.
        where: Start of the error message.

    Raises:
        RequestError: If a name or shape differs.
    """
    entry = register.encoder.get(config.kind, "encoder.kind")
    if not entry.builtin:
        return
    numbers = sum(tensor.numel() for tensor in weights.values())
    claimed = [config.layers, config.width, config.heads, *(feature.size for feature in (*schema.node, *schema.edge))]
    if config.layers > len(weights) or max(claimed) > numbers:
        raise RequestError(f"{where}: weights do not fit the model (its config claims sizes up to {max(claimed)})")
    with torch.device("meta"), _NoNormal():
        check_weights(build_encoder(schema, config, seed=0), weights, where)


class _NoNormal(TorchFunctionMode):
    """Leaves weights as they are that would be drawn from a normal distribution.

    On the "meta" device this imports ``torch._dynamo``: 1.6 CPU seconds of each worker that resumes a run.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func``, unless it is ``nn.init.normal_``."""
        kwargs = kwargs or {}
        return kwargs["tensor"] if func is nn.init.normal_ else func(*args, **kwargs)

"""Whether weights are those of the encoder that a config describes, found out before any memory is taken for it."""

from __future__ import annotations

import torch
from torch import Tensor

from distgnn import register
from distgnn.checkpoint.training_state import check_weights
from distgnn.config import EncoderConfig
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.models.encoder import build_encoder


def check_compatible(schema: Schema, config: EncoderConfig, weights: dict[str, Tensor], where: str) -> None:
    """Raise RequestError unless ``weights`` have the names and shapes of the encoder of (schema, config).

    Files that others made may claim any size, and building what they claim could take all memory. So the encoder is built
    without storage ("meta" tensors); registered kinds are left to their own modules.
    """
    entry = register.encoder.get(config.kind, "encoder.kind")
    if not entry.builtin:
        return
    numbers = sum(tensor.numel() for tensor in weights.values())
    claimed = [config.layers, config.width, config.heads, *(feature.size for feature in (*schema.node, *schema.edge))]
    if config.layers > len(weights) or max(claimed) > numbers:
        raise RequestError(f"{where}: weights do not fit the model (its config claims sizes up to {max(claimed)})")
    with torch.device("meta"):
        check_weights(build_encoder(schema, config, seed=0), weights, where)

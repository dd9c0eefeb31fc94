"""distgnn: pre-training of graph neural networks at cluster scale. Names below are loaded when first used; none needs Ray."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from distgnn import register

if TYPE_CHECKING:
    from distgnn.checkpoint.format import load_checkpoint
    from distgnn.checkpoint.load import load_encoder
    from distgnn.corpus.sources.pyg import write_corpus
    from distgnn.finetuning.saved_model import load_model
    from distgnn.graph.batch import GraphBatch
    from distgnn.graph.schema import Feature, Schema
    from distgnn.models.user_encoder.adapter import register_encoder

__all__ = [
    "Feature",
    "GraphBatch",
    "Schema",
    "load_checkpoint",
    "load_encoder",
    "load_model",
    "register",
    "register_encoder",
    "write_corpus",
]
__version__ = "0.1.0"

_HOMES = {
    "Feature": "distgnn.graph.schema",
    "GraphBatch": "distgnn.graph.batch",
    "Schema": "distgnn.graph.schema",
    "load_checkpoint": "distgnn.checkpoint.format",
    "load_encoder": "distgnn.checkpoint.load",
    "load_model": "distgnn.finetuning.saved_model",
    "register_encoder": "distgnn.models.user_encoder.adapter",
    "write_corpus": "distgnn.corpus.sources.pyg",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'distgnn' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

"""distgnn: pre-training of graph neural networks at cluster scale. Names below are loaded when first used; none needs Ray."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distgnn.corpus.sources.pyg import write_corpus
    from distgnn.engine.checkpoint import load_checkpoint
    from distgnn.engine.pretrained import load_encoder
    from distgnn.engine.tuned import load_model
    from distgnn.graph.batch import GraphBatch
    from distgnn.graph.schema import Feature, Schema
    from distgnn.models.custom.psi import register_encoder

__all__ = [
    "Feature",
    "GraphBatch",
    "Schema",
    "load_checkpoint",
    "load_encoder",
    "load_model",
    "register_encoder",
    "write_corpus",
]
__version__ = "0.1.0"

_HOMES = {
    "Feature": "distgnn.graph.schema",
    "GraphBatch": "distgnn.graph.batch",
    "Schema": "distgnn.graph.schema",
    "load_checkpoint": "distgnn.engine.checkpoint",
    "load_encoder": "distgnn.engine.pretrained",
    "load_model": "distgnn.engine.tuned",
    "register_encoder": "distgnn.models.custom.psi",
    "write_corpus": "distgnn.corpus.sources.pyg",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'distgnn' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

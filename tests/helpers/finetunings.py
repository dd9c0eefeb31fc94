"""Fine-tunings without a cache."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.auxiliary.trainer import TrainingResult
from distgnn.config import FinetuneConfig
from distgnn.finetuning.comparison import FinetuneComparison, finetune
from distgnn.storage.folder import open_folder


def finetuned(config: FinetuneConfig, starts: Sequence[InitialEncoder] = (), **options: Any) -> FinetuneComparison:
    """The comparison; options: of :func:`distgnn.finetuning.comparison.finetune`."""
    with tempfile.TemporaryDirectory() as folder:
        return finetune(config, starts, open_folder(folder), **options)


def first(config: FinetuneConfig, starts: Sequence[InitialEncoder] = ()) -> TrainingResult:
    """The result of the first training."""
    return next(iter(finetuned(config, starts).results.values()))


def value(result: TrainingResult, part: str = "test") -> float:
    """The score on a part."""
    return result.scores[part][result.metrics[0]]

"""Cache of finished trainings as files: a stopped comparison continues, and more seeds extend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor

from distgnn.auxiliary.trainer import CURVES, TrainingResult
from distgnn.storage.arrays import Arrays, read_arrays, write_arrays
from distgnn.storage.folder import Folder
from distgnn.storage.records import Name, Seconds, Small

FORMAT = "training 2"
"""Part of every cache key; changes if results of an older trainer must not be reused."""
REFERENCES = "references 1"
"""Part of the cache key of models without an encoder; changes if their earlier scores must not be reused."""
_VALUES = ("tasks", "metrics", "best_epoch", "seconds", "start_seconds", "validation", "scores", "coverage", "diverged")


@dataclass(frozen=True)
class _Pretrained:
    """JSON values of weights that were trained on the auxiliary tasks alone; files of earlier versions have none."""

    seconds: Seconds = 0.0


@dataclass(frozen=True)
class _References:
    """JSON values of test scores of models without an encoder, by name and metric."""

    scores: dict[Name, dict[Name, float]]


@dataclass(frozen=True)
class _Saved:
    """JSON values of a :class:`TrainingResult`."""

    tasks: Annotated[tuple[Name, ...], Meta(min_length=1)]
    metrics: Annotated[tuple[Name, ...], Meta(min_length=1)]
    best_epoch: Small
    seconds: Seconds
    validation: tuple[dict[Name, float], ...]
    scores: dict[Name, dict[Name, float]]
    coverage: dict[Name, float]
    start_seconds: Seconds = 0.0
    diverged: Name = ""

    def __post_init__(self) -> None:
        complete = all(set(self.metrics) == set(found) for found in (*self.validation, *self.scores.values()))
        if not complete or set(self.coverage) != set(self.scores) or self.best_epoch > len(self.validation):
            raise ValueError("scores, coverage and epochs do not belong together")


def _fits(name: str, arrays: Arrays, saved: _Saved) -> bool:
    """Return whether the array ``name`` is there, with the shape of its kind."""
    array = arrays.get(name)
    if array is None or array.dtype != np.float32:
        return False
    if name.startswith("predictions/"):
        return array.ndim == 2
    if name in ("meta_loss", "influence"):
        return array.ndim == 1
    return array.shape == (len(arrays["meta_loss"]), len(saved.tasks))


@dataclass(frozen=True)
class JobCache:
    """Results of finished jobs, one file each. The file's name is derived from everything the job depends on.

    Args:
        folder: Folder of the files.
    """

    folder: Folder

    def has(self, name: str) -> bool:
        """Return whether the file ``name`` exists and is complete."""
        return read_arrays(self.folder, name, dict[str, Any]) is not None

    def load(self, name: str) -> TrainingResult | None:
        """Return the result in the file ``name``; None if it is missing or damaged."""
        found = read_arrays(self.folder, name, _Saved)
        if found is None:
            return None
        saved, arrays = found
        parts = [part for part in saved.scores if f"predictions/{part}" in arrays]
        prefix = "weights/"
        arrays.setdefault("influence", np.zeros(0, np.float32))  # files of earlier versions have none
        names = ["meta_loss", "influence"]
        names += [*(f"curves/{curve}" for curve in CURVES), *(f"predictions/{part}" for part in parts)]
        if not all(_fits(name, arrays, saved) for name in names):
            return None
        return TrainingResult(
            **vars(saved),
            predictions={part: arrays[f"predictions/{part}"] for part in parts},
            curves={curve: arrays[f"curves/{curve}"] for curve in CURVES},
            meta_loss=arrays["meta_loss"],
            influence=arrays["influence"],
            weights={
                path.removeprefix(prefix): torch.from_numpy(array.copy())
                for path, array in arrays.items()
                if path.startswith(prefix)
            },
        )

    def save(self, name: str, result: TrainingResult) -> None:
        """Write ``result`` to the file ``name`` atomically."""
        arrays = {f"predictions/{part}": array for part, array in result.predictions.items()}
        arrays |= {f"curves/{curve}": array for curve, array in result.curves.items()}
        arrays |= {f"weights/{path}": tensor.numpy() for path, tensor in result.weights.items()}
        values = {name: getattr(result, name) for name in _VALUES}
        arrays |= {"meta_loss": result.meta_loss, "influence": result.influence}
        write_arrays(self.folder, name, values, arrays)

    def load_weights(self, name: str) -> tuple[dict[str, Tensor], float] | None:
        """Return the weights in the file ``name`` and the seconds of their training; None if it is missing or damaged."""
        found = read_arrays(self.folder, name, _Pretrained)
        return found and ({path: torch.from_numpy(array) for path, array in found[1].items()}, found[0].seconds)

    def save_weights(self, name: str, weights: dict[str, Tensor], seconds: float) -> None:
        """Write ``weights``, trained in ``seconds``, to the file ``name`` atomically."""
        values = {"seconds": seconds}
        write_arrays(self.folder, name, values, {path: tensor.numpy() for path, tensor in weights.items()})

    def load_references(self, name: str) -> dict[str, dict[str, float]] | None:
        """Return the scores in the file ``name``, by model and metric; None if it is missing or damaged."""
        found = read_arrays(self.folder, name, _References)
        return found and found[0].scores

    def save_references(self, name: str, scores: dict[str, dict[str, float]]) -> None:
        """Write ``scores`` to the file ``name`` atomically."""
        write_arrays(self.folder, name, {"scores": scores}, {})

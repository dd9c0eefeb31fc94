"""Cache of finished trainings as files: a stopped comparison continues, and more seeds extend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distgnn.auxiliary.trainer import CURVES, TrainingResult
from distgnn.storage.arrays import read_arrays, write_arrays
from distgnn.storage.folder import Folder

FORMAT = "training 2"
"""Part of every cache key; changes if results of an older trainer must not be reused."""
_VALUES = ("tasks", "metrics", "best_epoch", "seconds", "validation", "scores", "coverage")
_TUPLES = ("tasks", "metrics", "validation")


@dataclass(frozen=True)
class JobCache:
    """Results of finished jobs, one file each. The file's name is derived from everything the job depends on.

    Args:
        folder: Folder of the files.
    """

    folder: Folder

    def has(self, name: str) -> bool:
        """Return whether the file ``name`` exists and is complete."""
        return read_arrays(self.folder, name) is not None

    def load(self, name: str) -> TrainingResult | None:
        """Return the result in the file ``name``; None if it is missing or damaged."""
        found = read_arrays(self.folder, name)
        if found is None or set(found[0]) != set(_VALUES):
            return None
        values, arrays = found
        fields: dict[str, Any] = {name: tuple(value) if name in _TUPLES else value for name, value in values.items()}
        prefix = "weights/"
        return TrainingResult(
            **fields,
            predictions={part: arrays[path] for part in values["scores"] if (path := f"predictions/{part}") in arrays},
            curves={curve: arrays[f"curves/{curve}"] for curve in CURVES},
            meta_loss=arrays["meta_loss"],
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
        write_arrays(self.folder, name, values, {**arrays, "meta_loss": result.meta_loss})

    def load_weights(self, name: str) -> dict[str, Tensor] | None:
        """Return the weights in the file ``name``; None if it is missing or damaged."""
        found = read_arrays(self.folder, name)
        return found and {path: torch.from_numpy(array) for path, array in found[1].items()}

    def save_weights(self, name: str, weights: dict[str, Tensor]) -> None:
        """Write ``weights`` to the file ``name`` atomically."""
        write_arrays(self.folder, name, {}, {path: tensor.numpy() for path, tensor in weights.items()})

"""Finished jobs of a fine-tuning, kept in its output folder: a stopped one continues, and more seeds extend it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import safetensors.torch
import torch

from distgnn.config import FinetuneConfig
from distgnn.config.base import result_fields
from distgnn.corpus.manifest import read_manifest
from distgnn.finetuning.trainer import Method, Outcome
from distgnn.labels.scores import Score
from distgnn.storage.arrays import read_kept, write_kept
from distgnn.storage.folder import Folder, open_folder

_MODEL = "model/"


@dataclass(frozen=True)
class Kept:
    """Outcomes in ``folder``, one file a job, named after everything the job depends on; ``common`` is what all jobs share.

    models: whether a job without its model counts as not finished.
    """

    folder: Folder
    common: str
    models: bool = False

    @classmethod
    def of(cls, config: FinetuneConfig, folder: Folder) -> Kept:
        """For the jobs of ``config`` on its corpus as it is now."""
        fields = result_fields(config)
        manifest = read_manifest(open_folder(config.corpus))
        return cls(folder, json.dumps([fields, manifest.digest()], sort_keys=True), config.save_models)

    def load(self, method: Method, seed: int) -> Outcome | None:
        """The outcome of a finished job; None where it has not finished, or its file is not whole."""
        found = read_kept(self.folder, self._name(method, seed))
        if found is None:
            return None
        told, arrays = found
        predictions = {part: array for part, array in arrays.items() if not part.startswith(_MODEL)}
        weights = {
            name.removeprefix(_MODEL): torch.from_numpy(array.copy())
            for name, array in arrays.items()
            if name not in predictions
        }
        if self.models and not weights:
            return None
        scores = {part: Score(*score) for part, score in told["scores"].items()}
        history = tuple(told["history"])
        return Outcome(method.name, seed, told["best_epoch"], told["seconds"], scores, history, predictions, weights)

    def save(self, method: Method, outcome: Outcome) -> None:
        """Keep a finished job."""
        told = {name: getattr(outcome, name) for name in ("scores", "history", "best_epoch", "seconds")}
        weights = {f"{_MODEL}{name}": tensor.numpy() for name, tensor in outcome.weights.items()}
        write_kept(self.folder, self._name(method, outcome.seed), told, {**outcome.predictions, **weights})

    def _name(self, method: Method, seed: int) -> str:
        digest = hashlib.sha256(f"{self.common}{method.encoder}".encode())
        digest.update(safetensors.torch.save(method.weights or {}))
        return f"{digest.hexdigest()[:16]}-seed{seed}.safetensors"

"""Hashes of a fixed short pre-training, one line for each objective: python -m jobs.benches.loss_hashes [OBJECTIVE ...]

Equal lines before and after a change say that losses and weights are equal to the last bit, on one machine with one version
of torch. Each run has 6 steps on 120 synthetic graphs, on one CPU thread.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import distgnn as dg
from distgnn import register

_ENCODER = {"layers": 2, "width": 16}
_TRAIN: dict[str, Any] = {
    "max_steps": 6,
    "streams": 2,
    "graphs_per_stream": 8,
    "device": "cpu",
    "log_seconds": 0.0,
    "validation_fraction": 0.2,
}


def hashes(corpus: dg.Corpus, objective: str, out: Path) -> tuple[str, str]:
    """Return the hash of the losses of all steps, and that of the weights after them.

    Args:
        corpus: A labelled corpus.
        objective: Name of the objective.
        out: Folder for the run.
    """
    given: dict[str, Any] = {"encoder": _ENCODER, "train": _TRAIN}
    run = dg.pretrain(corpus=corpus, out=out, name=objective, objective=objective, **given)
    losses = run.table["loss"].dropna().to_numpy(np.float64)
    weights = dg.load_checkpoint(run.checkpoint).model
    tensors = b"".join(name.encode() + weights[name].numpy().tobytes() for name in sorted(weights))
    return _short(losses.tobytes()), _short(tensors)


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def lines(objectives: list[str], folder: Path) -> list[str]:
    """Return "OBJECTIVE LOSSES WEIGHTS" for each objective; none given = all built-in ones."""
    torch.set_num_threads(1)
    corpus = dg.build_corpus("motifs", graphs=120, unit_rows=8, out=folder / "corpus")
    return [f"{name} {' '.join(hashes(corpus, name, folder))}" for name in objectives or register.objective.names()]


def main() -> None:
    """Print the lines."""
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write("\n".join(lines(sys.argv[1:], Path(folder))) + "\n")


if __name__ == "__main__":
    main()

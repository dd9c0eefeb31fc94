"""When checkpoints of a run are due, and writing and finding them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from distgnn.corpus.manifest import Manifest
from distgnn.engine.card import checkpoint_files
from distgnn.engine.checkpoint import FOLDER, newest, parse, prune, read_verified, seal, step_name
from distgnn.engine.progress import Recorder
from distgnn.engine.run import Run
from distgnn.engine.sealed import CHECKSUMS, publish
from distgnn.engine.state import TrainState
from distgnn.errors import RequestError


@dataclass
class Saver:
    """Writes the checkpoints of a run; the leading rank has the only one. steps_per_epoch: of the plan."""

    run: Run
    manifest: Manifest
    steps_per_epoch: int
    last: float = field(default_factory=time.monotonic)

    def due(self, step: int) -> bool:
        """Whether ``step`` (the next one) or the clock asks for a checkpoint."""
        train = self.run.config.train
        by_step = train.checkpoint_every > 0 and step % train.checkpoint_every == 0
        by_clock = train.checkpoint_minutes > 0 and time.monotonic() - self.last >= 60 * train.checkpoint_minutes
        return by_step or by_clock

    def save(self, state: TrainState, recorder: Recorder) -> None:
        """Write a checkpoint of ``state``, unless this step has one, and delete old ones."""
        folder, name = self.run.folder.sub(FOLDER), step_name(state.step)
        if folder.sub(name).size(CHECKSUMS) is None:
            metrics = {"train": recorder.metrics, "validation": recorder.validation}
            epoch = state.step // self.steps_per_epoch
            files = checkpoint_files(state, self.run.config, self.manifest, epoch, metrics)
            publish(folder.sub(name), files, seal(files))
        prune(self.run.folder, self.run.config.train.keep)
        recorder.checkpoint = f"{FOLDER}/{name}"
        self.last = time.monotonic()


def restore_newest(run: Run, state: TrainState, manifest: Manifest) -> dict[str, Any]:
    """Continue ``state`` from a run's newest whole checkpoint, if it has one; returns that checkpoint's metrics.

    Raises RequestError where the checkpoint comes from another corpus (its steps would mean other graphs), or there is none
    though the run began with one.
    """
    folder = newest(run.folder)
    if folder is None:
        if run.config.init:
            raise RequestError(f"{run.folder.uri}: the checkpoint it started from is gone; start a new run")
        return {}
    checkpoint = parse(read_verified(folder)[0], folder.uri)
    if checkpoint.state.get("corpus") != manifest.digest():
        raise RequestError(
            f"{folder.uri}: trained on another corpus than the run's now; restore that corpus or start a new run"
        )
    state.restore(checkpoint.step, checkpoint.model, checkpoint.optimiser, folder.uri)
    state.skipped = int(checkpoint.state["skipped"])
    return checkpoint.state["metrics"]

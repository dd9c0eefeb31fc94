"""Saving checkpoints in the background of training, and resuming from the newest one."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from distgnn.checkpoint.format import FOLDER, parse, read_newest, seal, step_name
from distgnn.checkpoint.model_card import checkpoint_files
from distgnn.checkpoint.training_state import Frozen, TrainState
from distgnn.corpus.manifest import Manifest
from distgnn.errors import DivergedError, RequestError
from distgnn.monitor.sink import NULL_SINK, MetricsSink
from distgnn.pretraining.background import Background
from distgnn.pretraining.history import Recorder, Written
from distgnn.pretraining.metrics import note_checkpoint
from distgnn.pretraining.retention import CheckpointRetention
from distgnn.pretraining.run import Run
from distgnn.storage.verified import publish

_NODE_LOSS_SECONDS = 10.0
"""Seconds between checkpoints while a node is about to be terminated."""


@dataclass
class CheckpointSaver:
    """Saves the checkpoints of a run, in the main process.

    Training waits only while the state is copied. A thread writes the copy, one checkpoint at a time; its exceptions are
    raised after the current step.

    Attributes:
        run: The run.
        manifest: Manifest of its corpus.
        steps_per_epoch: Steps per epoch of its plan.
        retention: Retention policy and the checkpoints present.
        recorder: Progress and history of the run.
        sink: Receives durations and sizes.
        last: Time (``time.monotonic``) of the last checkpoint.
    """

    run: Run
    manifest: Manifest
    steps_per_epoch: int
    retention: CheckpointRetention
    recorder: Recorder
    sink: MetricsSink = NULL_SINK
    last: float = field(default_factory=time.monotonic)
    _writing: Background[Written] = field(default_factory=lambda: Background("distgnn-checkpoint"))
    _stalled: float = 0.0

    def __post_init__(self) -> None:
        self._tell()

    def due(self, state: TrainState, *, node_loss: bool) -> bool:
        """Whether ``state`` should be saved, by step count, time, validation loss or an imminent node loss.

        Args:
            state: The current state.
            node_loss: Whether a node is about to be terminated.
        """
        train, waited = self.run.config.train, time.monotonic() - self.last
        by_step = train.checkpoint_every > 0 and state.step % train.checkpoint_every == 0
        by_clock = train.checkpoint_minutes > 0 and waited >= 60 * train.checkpoint_minutes
        by_warning = node_loss and waited >= _NODE_LOSS_SECONDS and not self._writing.busy
        score = self._score(state.step)
        return by_step or by_clock or by_warning or (score is not None and self.retention.wants(score))

    def save(self, state: TrainState) -> None:
        """Start saving ``state`` unless its step is saved already. Waits for the previous checkpoint and raises its exception.

        Raises:
            DivergedError: A weight is not finite. Nothing is written, and no earlier checkpoint is deleted.
        """
        start = time.perf_counter()
        self._take(state.step)
        self.last = time.monotonic()
        if state.step in self.retention.scores:
            return
        score, frozen = self._score(state.step), state.freeze()
        if frozen.damaged:
            kept = (
                f"the last good checkpoint is {self.recorder.checkpoint}" if self.recorder.checkpoint else "start again"
            )
            raise DivergedError(
                f"step {state.step}: weight {frozen.damaged} is not finite, so no checkpoint is written; lower train.lr"
                f" (now {self.run.config.train.lr:g}) or train.weight_decay; {kept}"
            )
        obsolete = self.retention.add(state.step, score)
        metrics = {"train": self.recorder.metrics, "validation": self.recorder.validation, "cost": state.cost}
        self._writing.start(partial(self._write, frozen, metrics, score, obsolete))
        self._stalled = time.perf_counter() - start

    def notice(self, step: int) -> None:
        """Record, at ``step``, a checkpoint that has been completed, and raise its exception. Does not block."""
        if not self._writing.busy:
            self._take(step)

    def finish(self, state: TrainState) -> None:
        """Save the final state and wait until it is complete."""
        self.save(state)
        start = time.perf_counter()
        self._writing.wait()
        self._stalled += time.perf_counter() - start
        self._take(state.step)

    def wait(self) -> None:
        """Wait for the checkpoint in progress without raising its exception, for use while another one is handled."""
        self._writing.wait()

    def _take(self, step: int) -> None:
        written = self._writing.take()
        if written is None:
            return
        self._tell()
        self.recorder.add_checkpoint(step, written, self._stalled)
        stall, seconds, size = self._stalled, written.write_seconds, written.bytes
        note_checkpoint(self.sink, stall_seconds=stall, write_seconds=seconds, size=size)

    def _tell(self) -> None:
        newest, best = max(self.retention.scores, default=None), self.retention.best_step()
        self.recorder.checkpoint = "" if newest is None else _place(newest)
        self.recorder.best = "" if best is None else _place(best)

    def _score(self, step: int) -> float | None:
        loss = self.recorder.validation.get("loss", math.nan) if self.recorder.validated == step else math.nan
        return loss if math.isfinite(loss) else None

    def _write(self, state: Frozen, metrics: dict[str, Any], score: float | None, obsolete: list[str]) -> Written:
        """Write a checkpoint and delete the obsolete ones. Runs in the thread, so it must not touch the training state."""
        start = time.perf_counter()
        epoch = state.step // self.steps_per_epoch
        files = checkpoint_files(state, self.run.config, self.manifest, epoch, metrics, score)
        publish(self.retention.folder.sub(step_name(state.step)), files, seal(files))
        for name in obsolete:
            self.retention.remove(name)
        return Written(state.step, time.perf_counter() - start, sum(map(len, files.values())))


def _place(step: int) -> str:
    return f"{FOLDER}/{step_name(step)}"


def restore_newest(run: Run, state: TrainState, manifest: Manifest) -> dict[str, Any]:
    """Restore ``state`` from a run's newest complete checkpoint, if there is one.

    Returns:
        The checkpoint's metrics; empty without a checkpoint.

    Raises:
        RequestError: If the corpus has changed since the checkpoint (its steps would refer to other graphs), or the run was
            initialised from a checkpoint and has none left.
    """
    found = read_newest(run.folder)
    if found is None:
        if run.config.init:
            raise RequestError(f"{run.folder.uri}: the checkpoint it started from is gone; start a new run")
        return {}
    folder, files = found
    checkpoint = parse(files, folder.uri)
    if checkpoint.state.corpus != manifest.digest():
        raise RequestError(
            f"{folder.uri}: trained on another corpus than the run's now; restore that corpus or start a new run"
        )
    state.restore(checkpoint.step, checkpoint.model, checkpoint.optimiser, folder.uri)
    state.skipped = checkpoint.state.skipped
    spent = checkpoint.state.metrics.get("cost", {})
    state.graphs, state.cpu_seconds = int(spent.get("graphs", 0)), spent.get("cpu_seconds", 0.0)
    return checkpoint.state.metrics

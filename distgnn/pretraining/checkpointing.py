"""When checkpoints of a run are due, and writing and finding them. Training goes on while one is being written."""

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
from distgnn.errors import RequestError
from distgnn.monitor.sink import NULL_SINK, MetricsSink
from distgnn.pretraining.background import Background
from distgnn.pretraining.history import Recorder, Written
from distgnn.pretraining.metrics import note_checkpoint
from distgnn.pretraining.retention import CheckpointRetention
from distgnn.pretraining.run import Run
from distgnn.storage.verified import publish

_HURRY_SECONDS = 10.0
"""Seconds between checkpoints while a node is about to go."""


@dataclass
class CheckpointSaver:
    """Writes the checkpoints of a run; the leading rank has the only one.

    The state is copied while training waits; a thread makes files of the copy and puts them away, at most one checkpoint at a
    time. What goes wrong there is raised after the step that is under way. steps_per_epoch: of the plan.
    """

    run: Run
    manifest: Manifest
    steps_per_epoch: int
    shelf: CheckpointRetention
    recorder: Recorder
    meter: MetricsSink = NULL_SINK
    last: float = field(default_factory=time.monotonic)
    _writing: Background[Written] = field(default_factory=lambda: Background("distgnn-checkpoint"))
    _stalled: float = 0.0

    def __post_init__(self) -> None:
        self._tell()

    def due(self, state: TrainState, *, hurry: bool) -> bool:
        """Whether the step, the clock, a validation or ``hurry`` (a node is about to go) ask for a checkpoint of ``state``."""
        train, waited = self.run.config.train, time.monotonic() - self.last
        by_step = train.checkpoint_every > 0 and state.step % train.checkpoint_every == 0
        by_clock = train.checkpoint_minutes > 0 and waited >= 60 * train.checkpoint_minutes
        by_warning = hurry and waited >= _HURRY_SECONDS and not self._writing.busy
        score = self._score(state.step)
        return by_step or by_clock or by_warning or (score is not None and self.shelf.wants(score))

    def save(self, state: TrainState) -> None:
        """Begin a checkpoint of ``state``, unless this step has one; waits for the one before. Raises what that one ran into."""
        start = time.perf_counter()
        self._take(state.step)
        self.last = time.monotonic()
        if state.step in self.shelf.scores:
            return
        score = self._score(state.step)
        gone = self.shelf.add(state.step, score)
        metrics = {"train": self.recorder.metrics, "validation": self.recorder.validation}
        self._writing.start(partial(self._write, state.freeze(), metrics, score, gone))
        self._stalled = time.perf_counter() - start

    def notice(self, step: int) -> None:
        """Take note, at ``step``, of a checkpoint that has become whole; never waits. Raises what it ran into."""
        if not self._writing.busy:
            self._take(step)

    def finish(self, state: TrainState) -> None:
        """Write a last checkpoint and wait until it is whole."""
        self.save(state)
        start = time.perf_counter()
        self._writing.wait()
        self._stalled += time.perf_counter() - start
        self._take(state.step)

    def wait(self) -> None:
        """Let the checkpoint under way become whole, for training that ends with an error of its own."""
        self._writing.wait()

    def _take(self, step: int) -> None:
        written = self._writing.take()
        if written is None:
            return
        self._tell()
        self.recorder.add_checkpoint(step, written, self._stalled)
        stall, seconds, size = self._stalled, written.write_seconds, written.bytes
        note_checkpoint(self.meter, stall_seconds=stall, write_seconds=seconds, size=size)

    def _tell(self) -> None:
        newest, best = max(self.shelf.scores, default=None), self.shelf.best_step()
        self.recorder.checkpoint = "" if newest is None else _place(newest)
        self.recorder.best = "" if best is None else _place(best)

    def _score(self, step: int) -> float | None:
        loss = self.recorder.validation.get("loss", math.nan) if self.recorder.validated == step else math.nan
        return loss if math.isfinite(loss) else None

    def _write(self, state: Frozen, metrics: dict[str, Any], score: float | None, gone: list[str]) -> Written:
        """Runs beside training: touches nothing that training changes."""
        start = time.perf_counter()
        epoch = state.step // self.steps_per_epoch
        files = checkpoint_files(state, self.run.config, self.manifest, epoch, metrics, score)
        publish(self.shelf.folder.sub(step_name(state.step)), files, seal(files))
        for name in gone:
            self.shelf.remove(name)
        return Written(state.step, time.perf_counter() - start, sum(map(len, files.values())))


def _place(step: int) -> str:
    return f"{FOLDER}/{step_name(step)}"


def restore_newest(run: Run, state: TrainState, manifest: Manifest) -> dict[str, Any]:
    """Continue ``state`` from a run's newest whole checkpoint, if it has one; returns that checkpoint's metrics.

    Raises RequestError where the checkpoint comes from another corpus (its steps would mean other graphs), or there is none
    though the run began with one.
    """
    found = read_newest(run.folder)
    if found is None:
        if run.config.init:
            raise RequestError(f"{run.folder.uri}: the checkpoint it started from is gone; start a new run")
        return {}
    folder, files = found
    checkpoint = parse(files, folder.uri)
    if checkpoint.state.get("corpus") != manifest.digest():
        raise RequestError(
            f"{folder.uri}: trained on another corpus than the run's now; restore that corpus or start a new run"
        )
    state.restore(checkpoint.step, checkpoint.model, checkpoint.optimiser, folder.uri)
    state.skipped = int(checkpoint.state["skipped"])
    return checkpoint.state["metrics"]

"""Metrics of pre-training: by each rank after each step, and from the run's snapshots after each interval."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from distgnn.checkpoint.format import FOLDER, step_names
from distgnn.distributed import ProcessGroup
from distgnn.monitor.loggers.base import LoggedRun, LoggerGroup, flat, open_loggers
from distgnn.monitor.sink import MetricsSink
from distgnn.pretraining.history import Snapshot
from distgnn.pretraining.memory import peak_memory_mb
from distgnn.pretraining.run import Run
from distgnn.pretraining.step import StepResult
from distgnn.storage.retry import errors_seen

_SECONDS = 5.0
_FIRST_SEEN = ("distgnn_train_graphs_total", "distgnn_train_steps_total", "distgnn_train_skipped_steps_total")
_MB = 1e6


class StorageMetrics:
    """Counts failed storage requests of this process since construction."""

    def __init__(self, sink: MetricsSink) -> None:
        self._sink, self._counted = sink, errors_seen()
        sink.note("distgnn_storage_errors_total", 0)

    def note(self) -> None:
        """Count the failures since the last call."""
        seen = errors_seen()
        if seen > self._counted:
            self._sink.note("distgnn_storage_errors_total", seen - self._counted)
            self._counted = seen


class StepMetrics:
    """Metrics of the steps of one rank.

    Counts of the global batch come from the main process only, so they can be summed over ranks.
    """

    def __init__(self, sink: MetricsSink, group: ProcessGroup) -> None:
        self._sink, self._group, self._storage = sink, group, StorageMetrics(sink)
        self._waited = self._next = 0.0
        sink.note("distgnn_train_data_wait_seconds_total", 0)
        sink.note("distgnn_train_reduce_seconds_total", 0)
        sink.note("distgnn_late_rounds_total", 0)
        if group.is_main_process:
            sink.note("distgnn_world_size", group.world_size)
            for name in _FIRST_SEEN:
                sink.note(name, 0)

    def step(self, result: StepResult, seconds: float, waited: float) -> None:
        """Record a finished step.

        Args:
            result: Result of the step.
            seconds: Duration of its computation.
            waited: Total seconds of waiting for data in this process.
        """
        note = self._sink.note
        note("distgnn_train_data_wait_seconds_total", waited - self._waited)
        self._waited = waited
        note("distgnn_train_reduce_seconds_total", result.waited)
        if self._group.is_main_process:
            note("distgnn_train_steps_total", 1)
            note("distgnn_train_graphs_total", result.graphs)
            note("distgnn_train_step_seconds", seconds)
            if not result.applied:
                note("distgnn_train_skipped_steps_total", 1)
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS
            self._note_memory()
            self._storage.note()

    def _note_memory(self) -> None:
        device = self._group.device
        self._sink.note("distgnn_gpu_memory_bytes", _MB * peak_memory_mb(device) if device.type == "cuda" else 0)
        self._sink.note("distgnn_host_memory_bytes", _MB * peak_memory_mb(torch.device("cpu")))


_GAUGES = {
    "distgnn_train_adaptation_gain": ("metrics", "adaptation_gain"),
    "distgnn_train_learning_rate": ("metrics", "lr"),
    "distgnn_train_validation_loss": ("validation", "loss"),
}
_LOSSES = {"outer": "loss", "inner": "inner_loss"}


class SnapshotMetrics:
    """Metrics from a run's snapshots. A new value of ``started`` counts as a restart."""

    def __init__(self, sink: MetricsSink) -> None:
        self._sink = sink
        self._started: float | None = None
        sink.note("distgnn_restarts_total", 0)
        sink.note("distgnn_lost_steps_total", 0)

    def __call__(self, snapshot: Snapshot) -> None:
        """Record a snapshot. Used as ``Hooks.show`` or by the driver."""
        note, metrics = self._sink.note, snapshot["metrics"]
        for name, (part, key) in _GAUGES.items():
            if key in snapshot[part]:
                note(name, snapshot[part][key])
        for loop, key in _LOSSES.items():
            if key in metrics:
                note("distgnn_train_loss", metrics[key], loop=loop)
        if snapshot["total"]:
            note("distgnn_train_progress_ratio", snapshot["step"] / snapshot["total"])
        started = snapshot.get("started", self._started)
        if self._started is not None and started != self._started:
            note("distgnn_restarts_total", 1)
            note("distgnn_lost_steps_total", snapshot.get("lost", 0))
        self._started = started


def note_checkpoint(sink: MetricsSink, *, stall_seconds: float, write_seconds: float, size: int) -> None:
    """Record a completed checkpoint.

    Args:
        sink: Receives the values.
        stall_seconds: How long training waited for it.
        write_seconds: How long writing took.
        size: Total bytes.
    """
    sink.note("distgnn_checkpoint_stall_seconds", stall_seconds)
    sink.note("distgnn_checkpoint_seconds", write_seconds)
    sink.note("distgnn_checkpoint_bytes", size)


class SnapshotLogger:
    """Logs a run's snapshots: ``train/NAME`` for means of an interval, ``validation/NAME`` for means of a validation."""

    def __init__(self, group: LoggerGroup) -> None:
        self.group = group
        self._logged: dict[str, dict[str, float]] = {}

    def __call__(self, snapshot: Snapshot) -> None:
        """Log the values that changed since the last snapshot; the latest ones become the summary."""
        for title, part in (("train", "metrics"), ("validation", "validation")):
            values = snapshot[part]
            if values and values != self._logged.get(part):
                self._logged[part] = dict(values)
                named = {f"{title}/{name}": value for name, value in values.items()}
                self.group.log(snapshot["step"], named)
                self.group.summary |= named


@contextmanager
def log_run(run: Run) -> Iterator[SnapshotLogger]:
    """Open the loggers of ``run.config.loggers``, in the process that receives the run's snapshots.

    For a run with checkpoints, the loggers resume at the step of the newest one.
    """
    names = step_names(run.folder.sub(FOLDER)) if run.config.loggers else []
    step = int(names[-1].removeprefix("step-")) if names else None
    logged = LoggedRun(run.name, run.folder, flat(run.config), step)
    with open_loggers(run.config.loggers, logged, run.config.metrics) as group:
        yield SnapshotLogger(group)

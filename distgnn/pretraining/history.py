"""Progress of a run (progress.json) and its history of metrics (history/), in the run folder."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from distgnn.errors import RequestError
from distgnn.storage.folder import Folder, absence
from distgnn.storage.records import MAX_TEXT, Count, Name, Seconds, Text, convert, parse_object

if TYPE_CHECKING:  # the page that follows runs reads histories, without torch
    from distgnn.pretraining.step import StepResult

NAME = "progress.json"
HISTORY = "history"
_ROWS_A_PART = 200
_MAX_BYTES = 16 << 20
_READABLE = "readable"
_PART, _REMOVE = "a part of a history", "remove it"
_NAME_OF_PART = re.compile(r"[0-9]{9}\.jsonl")
Snapshot = dict[str, Any]


@dataclass
class _Interval:
    """Sums over the steps since ``clock`` (``time.perf_counter``)."""

    clock: float = field(default_factory=time.perf_counter)
    sums: dict[str, tuple[float, float]] = field(default_factory=dict)
    graphs: int = 0
    skipped: int = 0
    waited: float = 0.0
    lr: float = 0.0

    def add(self, result: StepResult) -> None:
        self.graphs += result.graphs
        self.skipped += not result.applied
        for name, (value, weight) in result.sums.items():
            before = self.sums.get(name, (0.0, 0.0))
            self.sums[name] = before[0] + value, before[1] + weight

    def metrics(self, counted: str) -> dict[str, float]:
        elapsed = max(time.perf_counter() - self.clock, 1e-9)
        means = {name: value / weight for name, (value, weight) in self.sums.items() if weight > 0}
        speed = {f"{counted}_per_s": self.graphs / elapsed, "data_wait": self.waited / elapsed}
        return {**means, **speed, "lr": self.lr, "skipped_steps": float(self.skipped)}


@dataclass(frozen=True)
class Written:
    """A completed checkpoint.

    Attributes:
        step: Its step.
        write_seconds: Time to write it, beside training.
        bytes: Total size of its files.
    """

    step: int
    write_seconds: float
    bytes: int


@dataclass
class Recorder:
    """Aggregates steps into intervals; writes a history row and a snapshot for each.

    Attributes:
        folder: Folder of the run.
        run: Name of the run.
        total: Planned steps.
        first: The step at which this process starts or resumes.
        seconds: Length of an interval.
        show: Called with every snapshot.
        peak_memory_mb: Returns the peak memory of this process.
        started: Unix time of the start.
        metrics: Means of the last interval.
        validation: Means of the last validation.
        validated: Step of the last validation by this process; -1 if there was none.
        checkpoint: Path of the newest checkpoint in the run folder.
        best: Path of the checkpoint with the lowest validation loss in the run folder.
        cost: Graphs and CPU seconds of all steps of the run.
        lost: Steps that an earlier process had made and this one repeats.
        last: Last snapshot.
        budget: CPU seconds after which the run ends; 0 = none.
        counted: What steps are made of: graphs, or episodes of tasks of databases.
    """

    folder: Folder
    run: str
    total: int
    first: int
    seconds: float
    show: Callable[[Snapshot], None]
    peak_memory_mb: Callable[[], float]
    started: float = field(default_factory=time.time)
    metrics: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    validated: int = -1
    checkpoint: str = ""
    best: str = ""
    cost: dict[str, float] = field(default_factory=dict)
    budget: float = 0.0
    counted: str = "graphs"
    lost: int = 0
    last: Snapshot = field(default_factory=dict)
    _interval: _Interval = field(default_factory=_Interval)
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _waited: float = 0.0

    def __post_init__(self) -> None:
        history = self.folder.sub(HISTORY)
        for name in _parts(history):  # rows of steps that will be repeated
            if name >= _part(self.first):
                history.delete(name)
        self._origin, self._cpu_origin = self._interval.clock, self.cost.get("cpu_seconds", 0.0)
        self._part_start = self.first

    def add(self, step: int, result: StepResult, lr: float, waited: float) -> None:
        """Add a finished step, and write a row when the interval is over.

        Args:
            step: Index of the next step.
            result: Result of the step.
            lr: Learning rate of the step.
            waited: Total seconds of waiting for data in this process.
        """
        spent = {self.counted: float(result.graphs)}
        spent |= {"cpu_seconds": result.cpu_seconds} if result.cpu_seconds else {}
        self.cost = {name: self.cost.get(name, 0.0) + value for name, value in spent.items()}
        interval = self._interval
        interval.add(result)
        interval.lr, interval.waited = lr, waited - self._waited
        if time.perf_counter() - interval.clock >= self.seconds:
            self._close_interval(step)
            self.write(step, "running")

    def _close_interval(self, step: int) -> None:
        self.metrics = {**self._interval.metrics(self.counted), "peak_memory_mb": self.peak_memory_mb()}
        self._add_row({"step": step, "time": round(time.time(), 3), **self.metrics, **self.cost})
        self._waited += self._interval.waited
        self._interval = _Interval()

    def add_validation(self, step: int, means: dict[str, float]) -> None:
        """Record the means of a validation."""
        if means:
            if self._interval.sums:
                self._close_interval(step)
            self.validation, self.validated = means, step
            self._add_row({"step": step, "time": round(time.time(), 3), "validation": means})
            self.write(step, "running")

    def add_checkpoint(self, step: int, written: Written, stall_seconds: float) -> None:
        """Record, at ``step``, a completed checkpoint. stall_seconds: how long training waited for it."""
        row = {"of": written.step, "stall_seconds": stall_seconds, "write_seconds": written.write_seconds}
        self._add_row({"step": step, "time": round(time.time(), 3), "checkpoint": {**row, "bytes": written.bytes}})

    def _add_row(self, row: dict[str, Any]) -> None:
        if len(self._rows) >= _ROWS_A_PART:
            self._part_start = self._rows[-1]["step"]
            self._rows = []
        self._rows.append(row)
        lines = "".join(json.dumps(item) + "\n" for item in self._rows)
        self.folder.write(f"{HISTORY}/{_part(self._part_start)}", lines.encode())

    def finish(self, step: int, status: str) -> None:
        """Write the last, partial interval and the final status."""
        if self._interval.sums:
            self._close_interval(step)
        self.write(step, status)

    def _total(self, step: int, status: str) -> int:
        """Planned steps; where a budget ends the run, those of the run so far, and an estimate of the rest."""
        spent = self.cost.get("cpu_seconds", 0.0)
        if not self.budget or not spent:
            return self.total
        rest = 0.0 if status == "finished" else max(self.budget / spent - 1.0, 0.0)
        return min(self.total, step + round(step * rest))

    def write(self, step: int, status: str) -> Snapshot:
        """Write progress.json and show it."""
        done, elapsed = step - self.first, time.perf_counter() - self._origin
        left = elapsed / done * (self.total - step) if done else None
        spent = self.cost.get("cpu_seconds", 0.0) - self._cpu_origin
        if left is not None and self.budget and spent > 0:
            left = min(left, elapsed / spent * max(self.budget - self.cost["cpu_seconds"], 0.0))
        snapshot: Snapshot = {
            "run": self.run,
            "status": status,
            "step": step,
            "total": self._total(step, status),
            "first": self.first,
            "lost": self.lost,
            "metrics": self.metrics,
            "validation": self.validation,
            "cost": self.cost,
            "counted": self.counted,
            "checkpoint": self.checkpoint,
            "best": self.best,
            "seconds_left": left,
            "started": self.started,
            "updated": time.time(),
        }
        self.folder.write(NAME, json.dumps(snapshot, indent=1).encode())
        self.last = snapshot
        self.show(snapshot)
        return snapshot


def _part(step: int) -> str:
    return f"{step:09d}.jsonl"


def _parts(history: Folder) -> list[str]:
    """Names of the history's files; other names in the folder are ignored."""
    return [name for name in history.names() if _NAME_OF_PART.fullmatch(name)]


@dataclass(frozen=True)
class _Row:
    """Fields of a row of the history that have a type of their own; the others are metrics."""

    step: Count
    time: Seconds = 0.0
    validation: dict[Name, float] = field(default_factory=dict)
    checkpoint: dict[Name, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Progress:
    """Fields of progress.json that commands use; a newer version may write more."""

    run: Name
    status: Name
    step: Count
    total: Count
    metrics: dict[Name, float]
    validation: dict[Name, float]
    seconds_left: Seconds | None
    error: Text = ""
    checkpoint: Name = ""
    best: Name = ""
    counted: Name = "graphs"
    started: Seconds = 0.0
    updated: Seconds = 0.0


def read_progress(run: Folder) -> Snapshot:
    """Read the last snapshot of a run.

    Raises:
        RequestError: If the folder is not that of a started run, or the file is malformed.
    """
    if run.size(NAME) is None:
        raise RequestError(f"{run.uri}: no {NAME} here; give the folder of a run that has started{absence(run)}")
    where = run.at(NAME)
    data = parse_object(run.read(NAME, _MAX_BYTES), where, _READABLE)
    known = {item.name for item in fields(_Progress)}
    convert({name: value for name, value in data.items() if name in known}, _Progress, where, _READABLE)
    return data


def steps_since(run: Folder, step: int) -> int:
    """Steps beyond ``step`` that a process had made which did not end in order, as far as its last snapshot tells."""
    if run.size(NAME) is None:
        return 0
    before = read_progress(run)
    return max(before["step"] - step, 0) if before["status"] in ("running", "failed") else 0


def write_failure(run: Folder, name: str, error: Exception) -> None:
    """Mark a run as failed; the rest of its last snapshot is kept."""
    _write_end(run, name, {"status": "failed", "error": str(error)[:MAX_TEXT]})


def write_stop(run: Folder, name: str) -> None:
    """Mark a run as stopped; the rest of its last snapshot is kept."""
    _write_end(run, name, {"status": "stopped"})


def _write_end(run: Folder, name: str, end: dict[str, str]) -> None:
    nothing: Snapshot = {"run": name, "step": 0, "total": 0, "metrics": {}, "validation": {}, "checkpoint": ""}
    known = read_progress(run) if run.size(NAME) is not None else nothing
    changes = {**end, "seconds_left": None, "updated": time.time()}
    run.write(NAME, json.dumps({**known, **changes}, indent=1).encode())


def read_history(run: Folder) -> list[dict[str, Any]]:
    """Rows of all intervals and validations in order of steps. Steps repeated after a restart appear once, as last recorded.

    Raises:
        RequestError: If a file is malformed.
    """
    folder = run.sub(HISTORY)
    rows: list[dict[str, Any]] = []
    for name in _parts(folder):
        first = int(name.removesuffix(".jsonl"))
        rows = [row for row in rows if row["step"] <= first]
        lines = folder.read(name, _MAX_BYTES).splitlines()
        rows += [_row(line, f"{folder.at(name)}, line {number}") for number, line in enumerate(lines, start=1)]
    return rows


def _row(line: bytes, where: str) -> dict[str, Any]:
    row = parse_object(line, where, _PART, _REMOVE)
    known = {item.name for item in fields(_Row)}
    convert({name: value for name, value in row.items() if name in known}, _Row, where, _PART, _REMOVE)
    convert({name: value for name, value in row.items() if name not in known}, dict[Name, float], where, _PART, _REMOVE)
    return row

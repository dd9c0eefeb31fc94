"""Metrics as a CSV file in the run folder."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from distgnn import register
from distgnn.monitor.loggers.base import LibraryLogger, LoggedRun

FILE = "metrics.csv"
_HEADER = ("step", "metric", "value")


@dataclass(frozen=True)
class CsvConfig:
    """Options of the csv logger (none)."""


@register.logger("csv", CsvConfig)
class CsvLogger(LibraryLogger):
    """Append rows (step, metric, value) to metrics.csv; final scores have the last step and the prefix ``summary/``.

    Rows beyond the step that training goes back to are removed, when a run is resumed and when Ray restarts its workers.
    """

    local_only = True

    def __init__(self, config: CsvConfig, run: LoggedRun) -> None:
        del config
        self._path = Path(run.folder.uri.removeprefix("file://")) / FILE
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._last = 0 if run.resumed_at is None else run.resumed_at
        if run.resumed_at is None or not self._path.exists():
            self._write([_HEADER])
        else:
            self._rewind(run.resumed_at)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See Logger."""
        if step < self._last:
            self._rewind(step)
        self._last = step
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerows((step, name, value) for name, value in values.items())

    def finish(self, status: str, summary: Mapping[str, float]) -> None:
        """See Logger."""
        del status
        self.log(self._last, {f"summary/{name}": value for name, value in summary.items()})

    def _rewind(self, step: int) -> None:
        with self._path.open(newline="") as file:
            rows = [row for row in list(csv.reader(file))[1:] if len(row) == len(_HEADER)]
        self._write([_HEADER, *(row for row in rows if int(row[0]) <= step and not row[1].startswith("summary/"))])

    def _write(self, rows: list[tuple[str, ...] | list[str]]) -> None:
        with self._path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)

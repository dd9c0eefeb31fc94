"""State of the runs in a folder for a page that follows them: a row for each, and their curves as Vega-Lite specifications."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import pandas as pd

from distgnn.errors import RequestError, WorkError, printable
from distgnn.pretraining.history import NAME as PROGRESS
from distgnn.pretraining.history import read_progress
from distgnn.report.charts import Titles, line_spec
from distgnn.report.kinds import METRICS, kind_of, rows_of, unfinished
from distgnn.search.records import SWEEP, best_of, read_sweep, read_trials
from distgnn.storage.folder import Folder
from distgnn.storage.uri import base_name

COLUMNS = ("name", "kind", "status", "step", "total", "loss", "validation loss", "gain", "graphs/s", "left", "age")
_FRESH_SECONDS = 1.5
_MOST_CURVES = 12
"""Runs whose curves are drawn: those that wrote last."""
_CURVES = {**METRICS, "validation_loss": "Validation loss"}


class Board:
    """The runs directly inside a folder, or the one run that the folder is.

    What a run has written is read again when its progress has changed. Readers of several pages share one state.

    Args:
        folder: The folder, which need not exist yet.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._read, self._state = 0.0, dict[str, Any]()
        self._curves: dict[str, tuple[tuple[float, int, str], pd.DataFrame]] = {}

    def state(self) -> dict[str, Any]:
        """Return the rows, the charts and an error (text; empty if all went well) as JSON values."""
        with self._lock:
            if time.monotonic() - self._read > _FRESH_SECONDS or not self._state:
                self._state = self._new_state()
                self._read = time.monotonic()
            return self._state

    def _new_state(self) -> dict[str, Any]:
        about = {"folder": printable(self.folder.uri), "error": ""}
        try:
            folders = self._folders()
            found = [row for name, folder in folders.items() if (row := _row(name, folder))]
        except (RequestError, WorkError) as error:
            return {**about, "rows": [], "charts": [], "error": str(error)}
        shots = [row for row in found if row["kind"] == "run" and row["status"] != "damaged"]
        shots = sorted(shots, key=lambda row: row["age"])[:_MOST_CURVES]
        curves = {row["name"]: self._curve(row, folders[row["name"]]) for row in reversed(shots)}
        return {**about, "rows": found, "charts": _charts(curves)}

    def _folders(self) -> dict[str, Folder]:
        if kind_of(self.folder) is not None:
            return {base_name(self.folder.uri): self.folder}
        names = [name for name in self.folder.names() if not name.startswith((".", "_")) and name.isprintable()]
        return {name: self.folder.sub(name) for name in names}

    def _curve(self, row: dict[str, Any], run: Folder) -> pd.DataFrame:
        """Rows of the history of a run; those of the last reading if the run has not gone on or its files are damaged."""
        state = row["updated"], row["step"], row["status"]
        known = self._curves.get(row["name"])
        if known is None or known[0] != state:
            try:
                known = state, pd.DataFrame(rows_of(run))
            except (RequestError, WorkError):
                known = state, known[1] if known else pd.DataFrame()
            self._curves[row["name"]] = known
        return known[1]


def _row(name: str, folder: Folder) -> dict[str, Any] | None:
    """Return the row of a folder; None if it is of no known kind."""
    kind = kind_of(folder)
    if kind is None:
        status = unfinished(folder)
        return (
            dict.fromkeys(COLUMNS) | {"name": name, "kind": "results", "status": status, "age": 0.0} if status else None
        )
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {"name": name, "kind": kind.word, "age": 0.0}
    try:
        if kind.file == PROGRESS:
            return row | _run(folder)
        return row | _sweep(folder) if kind.file == SWEEP else row
    except (RequestError, WorkError):
        return row | {"status": "damaged"}


def _run(folder: Folder) -> dict[str, Any]:
    shot = read_progress(folder)
    metrics, updated = shot["metrics"], float(shot.get("updated", 0.0))
    return {
        "status": printable(shot["status"]),
        "step": shot["step"],
        "total": shot["total"],
        "loss": metrics.get("loss"),
        "validation loss": shot["validation"].get("loss"),
        "gain": metrics.get("adaptation_gain"),
        "graphs/s": metrics.get("graphs_per_s"),
        "left": shot["seconds_left"] if shot["status"] == "running" else None,
        "updated": updated,
        "age": max(0.0, time.time() - updated),
    }


def _sweep(folder: Folder) -> dict[str, Any]:
    sweep, trials = read_sweep(folder), read_trials(folder)
    states = Counter(trial.state for trial in trials)
    best = best_of(sweep, trials)
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    score = "" if best is None else f"; best {sweep.metric} {best.score:.4g}"
    return {
        "status": f"{told or 'no trials yet'}{score}",
        "step": sum(states[state] for state in ("finished", "stopped", "failed")),
        "total": sweep.trials,
    }


def _charts(curves: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Draw each metric of all runs against the step."""
    found = []
    for metric, title in _CURVES.items():
        parts = [
            pd.DataFrame({"x": rows["step"], "y": rows[metric], "line": name}).dropna()
            for name, rows in curves.items()
            if metric in rows
        ]
        if sum(map(len, parts)):
            titles = Titles(title, f"{title} of the runs against the step.", "step", title.lower())
            spec = line_spec(pd.concat(parts), titles, points=metric.startswith("validation"))
            found.append({"title": titles.title, "caption": titles.caption, "spec": spec})
    return found

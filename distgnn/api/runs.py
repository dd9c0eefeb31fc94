"""Lists of runs: ``distgnn.list_runs``."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pandas as pd

from distgnn.errors import RequestError
from distgnn.pretraining.history import NAME as PROGRESS
from distgnn.pretraining.history import read_progress
from distgnn.report.folders import kind_of
from distgnn.storage.folder import Folder, open_folder

COLUMNS = ["name", "kind", "status", "step", "total", "validation loss", "graphs", "cpu seconds", "updated"]


def list_runs(folder: str = "runs") -> pd.DataFrame:
    """List what commands wrote in the folders directly inside ``folder``: pre-training runs, comparisons, sweeps, studies, corpora.

    Args:
        folder: A path or URI.

    Returns:
        One row for each folder of a known kind, sorted by name: kind, and for pre-training runs status, step, planned steps,
        validation loss, graphs and CPU seconds of training, and the age of the last progress. A run whose progress cannot be
        read has the status "damaged".

    Raises:
        RequestError: There is no such folder.
    """
    place = open_folder(folder)
    names = place.names()
    if not names:
        raise RequestError(
            f"{folder}: no such folder, or nothing in it; give the folder that holds runs (--out of pretrain)"
        )
    rows = [_row(name, place.sub(name)) for name in names if not name.startswith((".", "_"))]
    return pd.DataFrame([row for row in rows if row], columns=pd.Index(COLUMNS))


def _row(name: str, folder: Folder) -> dict[str, Any]:
    kind = kind_of(folder)
    if kind is None:
        return {}
    row: dict[str, Any] = {"name": name, "kind": kind.word}
    return row | _progress(folder) if kind.file == PROGRESS else row


def _progress(run: Folder) -> dict[str, Any]:
    try:
        shot = read_progress(run)
    except RequestError:
        return {"status": "damaged"}
    cost = shot.get("cost", {})
    return {
        "status": shot["status"],
        "step": shot["step"],
        "total": shot["total"],
        "validation loss": shot.get("validation", {}).get("loss"),
        "graphs": cost.get("graphs"),
        "cpu seconds": cost.get("cpu_seconds"),
        "updated": f"{timedelta(seconds=round(max(0.0, time.time() - shot['updated'])))} ago"
        if "updated" in shot
        else "",
    }

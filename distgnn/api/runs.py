"""Runs in a folder: ``distgnn.list_runs`` and ``distgnn.delete_run``."""

from __future__ import annotations

import os
import re
import time
from datetime import timedelta
from typing import Any

import pandas as pd

from distgnn.checkpoint.format import FILES
from distgnn.config import load_config
from distgnn.config.database_model import DatabasePretrainConfig
from distgnn.errors import RequestError
from distgnn.pretraining.history import NAME as PROGRESS
from distgnn.pretraining.history import read_progress
from distgnn.pretraining.run import CONFIG, run_config
from distgnn.report.kinds import kind_of, unfinished
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.lock import LOCK, locked
from distgnn.storage.records import MAX_BYTES, parse_object
from distgnn.storage.verified import CHECKSUMS

COLUMNS = ["name", "kind", "status", "step", "total", "validation loss", "graphs", "cpu seconds", "updated"]

_OWN = re.compile(
    r"config\.json|progress\.json|environment\.json|_unfinished\.json|report\.html|history/[0-9]{9}\.jsonl|metrics\.csv"
    rf"|checkpoints/step-[0-9]{{9}}/({'|'.join(map(re.escape, (*FILES, CHECKSUMS)))})|tensorboard/.*|.*\.distgnn-tmp-[^/]*"
)
"""Files of a run, relative to its folder."""


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
            f"{folder}: no such folder, or nothing in it; give the folder that holds runs (out of pretrain)"
        )
    rows = [_row(name, place.sub(name)) for name in names if not name.startswith((".", "_"))]
    return pd.DataFrame([row for row in rows if row], columns=pd.Index(COLUMNS))


def delete_run(folder: str, name: str) -> str:
    """Delete a pre-training run: its config, progress, history and checkpoints.

    A run is known by a config.json that distgnn can read. Files of others in its folder are not deleted;
    then nothing is.

    Args:
        folder: The folder that holds runs.
        name: Name of the run.

    Returns:
        The URI of the run that was deleted.

    Raises:
        RequestError: It is no run, a command is writing there, or it holds files that distgnn has not written.
    """
    if "/" in name:
        raise RequestError(f"{name!r}: give the name of a run in {folder}, not a path")
    place = open_folder(folder)
    run = place.sub(name)
    _check_config(run)
    if run.size(PROGRESS) is not None:
        read_progress(run)
    if run.local and os.path.islink(run.path):
        raise RequestError(f"{run.uri}: is a symbolic link; delete the run where it is")
    with locked(run):  # refuses while a command works there
        files = [file for file in run.files() if file != LOCK]
        foreign = [file for file in files if not _OWN.fullmatch(file)]
        if foreign:
            raise RequestError(f"{run.uri}: holds a file that distgnn has not written ({foreign[0]}); move it first")
        for file in sorted(files, key=lambda file: file == CONFIG):  # a run that is half deleted can be deleted again
            run.delete(file)
    _remove_empty(run)
    return run.uri


def _check_config(run: Folder) -> None:
    """Raise RequestError unless the folder holds the config of a pre-training over a corpus or over databases."""
    raw = run.read_if_there(CONFIG, MAX_BYTES)
    if raw is not None and "databases" in parse_object(raw, run.at(CONFIG), "a config"):
        load_config(DatabasePretrainConfig, raw, run.at(CONFIG))
    else:
        run_config(run.uri)


def _remove_empty(run: Folder) -> None:
    """Remove the empty folders of a local run; object stores have none."""
    if run.local:
        for path, _, _ in os.walk(run.path, topdown=False):
            os.rmdir(path)


def _row(name: str, folder: Folder) -> dict[str, Any]:
    kind = kind_of(folder)
    if kind is None:
        status = unfinished(folder)
        return {"name": name, "kind": "results", "status": status} if status else {}
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

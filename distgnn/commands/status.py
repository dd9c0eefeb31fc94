"""The command ``distgnn status``, without torch."""

from __future__ import annotations

import math
import time
from datetime import timedelta

from distgnn.commands.output import Output
from distgnn.options import StatusOptions
from distgnn.pretraining.console import describe
from distgnn.pretraining.history import Snapshot, read_progress
from distgnn.storage.folder import open_folder

_SILENT_SECONDS = 60


def status(options: StatusOptions, output: Output) -> int:
    """Print the last progress snapshot of a run."""
    snapshot = read_progress(open_folder(options.run))
    error = f": {snapshot['error']}" if "error" in snapshot else ""
    output.emit(snapshot, f"{snapshot['run']} | {describe(snapshot)}{error}{_silence(snapshot, options.run)}")
    return 0


def _silence(snapshot: Snapshot, run: str) -> str:
    """Return for how long a running run has written nothing, if that is unusually long; its process may have been killed."""
    silent = time.time() - snapshot.get("updated", math.inf)
    if snapshot["status"] != "running" or silent < _SILENT_SECONDS:
        return ""
    ago = timedelta(seconds=round(silent))
    again = f"distgnn pretrain --resume {run}"
    if snapshot.get("counted") == "episodes":
        again = f"distgnn database pretrain --config {open_folder(run).at('config.json')}"
    return f" | nothing written for {ago}; if its process has ended, continue with: {again}"

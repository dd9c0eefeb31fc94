"""distgnn push, pull and status."""

from __future__ import annotations

from distgnn.commands.output import Output
from distgnn.corpus.storage import open_folder
from distgnn.engine import hub
from distgnn.engine.display import describe
from distgnn.engine.progress import read_progress
from distgnn.options import PullOptions, PushOptions, StatusOptions


def push(options: PushOptions, output: Output) -> int:
    """Copy a checkpoint away."""
    where = hub.push(options.source, options.target)
    output.emit({"checkpoint": where}, where)
    return 0


def pull(options: PullOptions, output: Output) -> int:
    """Copy a checkpoint here."""
    where = hub.pull(options.source, options.target)
    output.emit({"checkpoint": where}, where)
    return 0


def status(options: StatusOptions, output: Output) -> int:
    """Show a run's last snapshot."""
    snapshot = read_progress(open_folder(options.run))
    error = f": {snapshot['error']}" if "error" in snapshot else ""
    output.emit(snapshot, f"{snapshot['run']} | {describe(snapshot)}{error}")
    return 0

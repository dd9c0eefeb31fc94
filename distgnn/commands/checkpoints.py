"""The commands ``distgnn push``, ``pull`` and ``status``."""

from __future__ import annotations

from distgnn.checkpoint import push_pull
from distgnn.commands.output import Output
from distgnn.options import PullOptions, PushOptions, StatusOptions
from distgnn.pretraining.console import describe
from distgnn.pretraining.history import read_progress
from distgnn.storage.folder import open_folder


def push(options: PushOptions, output: Output) -> int:
    """Copy a checkpoint to a path or URI."""
    where = push_pull.push(options.source, options.target, options.weights_only, options.card)
    output.emit({"checkpoint": where}, where)
    return 0


def pull(options: PullOptions, output: Output) -> int:
    """Download a checkpoint."""
    where = push_pull.pull(options.source, options.target)
    output.emit({"checkpoint": where}, where)
    return 0


def status(options: StatusOptions, output: Output) -> int:
    """Print the last progress snapshot of a run."""
    snapshot = read_progress(open_folder(options.run))
    error = f": {snapshot['error']}" if "error" in snapshot else ""
    output.emit(snapshot, f"{snapshot['run']} | {describe(snapshot)}{error}")
    return 0

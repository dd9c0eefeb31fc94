"""The commands ``distgnn push`` and ``pull``."""

from __future__ import annotations

from distgnn.checkpoint import push_pull
from distgnn.commands.output import Output
from distgnn.options import PullOptions, PushOptions


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

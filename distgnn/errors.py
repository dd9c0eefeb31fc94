"""Exceptions of distgnn. Each message is one line that says what is wrong, where, and what to do."""

INTERRUPTED = 130
"""Exit code of a command that was stopped by a signal."""


class DistgnnError(Exception):
    """Base class of all exceptions that distgnn raises on purpose."""


class RequestError(DistgnnError, ValueError):
    """The request is wrong: an invalid option, a bad input file, an incompatible checkpoint. Exit code 2 of a command."""


class WorkError(DistgnnError):
    """The request is right but the work failed: a full disk, unreachable storage, diverged training. Exit code 1 of a command."""


class DivergedError(WorkError):
    """Training diverged; running it again gives the same result."""

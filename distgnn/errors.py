"""The two ways a command fails, each with one line that says what, where and what to do."""

INTERRUPTED = 130
"""Exit code of a command that a signal stopped."""


class RequestError(Exception):
    """The request was wrong: bad option, bad input file, incompatible checkpoint. Exit code 2."""


class WorkError(Exception):
    """The request was right but the work failed: disk full, storage gone, training diverged. Exit code 1."""


class DivergedError(WorkError):
    """Training cannot go on from here: trying the same again would end the same way."""

"""Exceptions of distgnn. Each message is one line that says what is wrong, where, and what to do."""

import errno
import re

INTERRUPTED = 130
"""Exit code of a command that was stopped by a signal."""


class DistgnnError(Exception):
    """Base class of all exceptions that distgnn raises. Control characters in a message are escaped when it is shown."""

    def __str__(self) -> str:
        return printable(super().__str__())


class RequestError(DistgnnError, ValueError):
    """The request is wrong: an invalid option, a bad input file, an incompatible checkpoint. Exit code 2 of a command."""


class WorkError(DistgnnError):
    """The request is right but the work failed: a full disk, unreachable storage, diverged training. Exit code 1 of a command."""


class DivergedError(WorkError):
    """Training diverged; running it again gives the same result."""


_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters (except tab and line feed), invisible and direction-changing ones, and lone surrogates."""


def printable(text: str) -> str:
    r"""Escape control and invisible characters such as ``\x1b``. Applied to all output."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory", "bad_alloc")


def explain(error: OSError | MemoryError | RuntimeError | ImportError) -> str | None:
    """Return a one-line message for an exception caused by the machine (memory, files, threads, libraries); None for others."""
    text = " ".join(str(error).split())[:300]
    if isinstance(error, MemoryError) or any(part in text.lower() for part in _NO_MEMORY):
        return f"out of memory ({text or type(error).__name__}); use smaller batches, fewer workers or a larger machine"
    if "can't start new thread" in text or getattr(error, "errno", 0) == errno.EAGAIN:
        return f"no further thread or process can be started ({text}); raise the limit (ulimit -u, or that of the container)"
    if getattr(error, "errno", 0) in (errno.EMFILE, errno.ENFILE) or "Too many open files" in text:
        return f"too many open files ({text}); raise the limit (ulimit -n)"
    if isinstance(error, ImportError):
        return f"cannot import {error.name or 'a library'} ({text}); check the installation"
    return text or type(error).__name__ if isinstance(error, OSError) else None

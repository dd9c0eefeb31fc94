"""Command line entry point: runs a command; errors are one line on stderr and an exit code (1 failure, 2 invalid request).

This module and the package import the standard library only, so that Ctrl-C is handled from the start.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from distgnn.errors import INTERRUPTED, RequestError, WorkError, explain, printable
from distgnn.interrupts import exit_on_interrupt
from distgnn.loading import collector_paused

_BROKEN_PIPE = 141
"""Exit code of a process that SIGPIPE terminates."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    warnings.formatwarning = _format_warning
    return guarded(lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(argv: list[str]) -> int:
    invalid = next((word for word in argv if any("\ud800" <= c <= "\udfff" for c in word)), None)
    if invalid is not None:
        raise RequestError(f"{invalid!a}: not valid UTF-8; rename the file")
    with exit_on_interrupt(), collector_paused():
        run = importlib.import_module("distgnn.commands.dispatch").run
    return run(argv)


def guarded(command: Callable[[], int]) -> int:
    """Run ``command`` and return its exit code; errors are printed as one line on stderr."""
    if not _has_streams():
        return _print_error("stdout is closed; redirect it, for example to /dev/null", 1)
    try:
        return _flushed(_code_of(command))
    except SystemExit:  # --help
        _flushed(0)
        raise


def _code_of(command: Callable[[], int]) -> int:
    try:
        return command()
    except RequestError as error:
        return _print_error(error, 2)
    except WorkError as error:
        return _print_error(error, 1)
    except KeyboardInterrupt:
        return _print_error("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader of stdout (head, less) has exited
        drop_stdout()
        return _BROKEN_PIPE
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        line = explain(error)
        if line is None:
            raise
        return _print_error(line, 1)


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Format a warning as one line."""
    del filename, lineno, line
    return f"distgnn: {category.__name__}: {printable(' '.join(str(message).split()))}\n"


def _has_streams() -> bool:
    """Prepare the standard streams; return False if stdout was closed when the process started."""
    closed = sys.stdout is None
    for number in (0, 1, 2):  # otherwise the next file opened would get the number of a closed stream
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return not closed


def _flushed(code: int) -> int:
    """Flush stdout and return the exit code."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()
    except OSError as error:
        drop_stdout()
        return _print_error(f"cannot write to stdout: {error.strerror}", 1)
    return code


def drop_stdout() -> None:
    """Discard further output, including output at exit of the process."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # not a file, as in tests
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)


def _print_error(what: object, code: int) -> int:
    try:
        sys.stderr.write(f"distgnn: error: {printable(' '.join(str(what).split()))}\n")
    except OSError:  # stderr is full or closed
        return code
    return code


if __name__ == "__main__":
    sys.exit(main())

"""Handling of Ctrl-C while modules are imported."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from distgnn.errors import INTERRUPTED


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """Context manager in which Ctrl-C ends the process with a one-line message.

    Imported modules may turn KeyboardInterrupt into other errors. Outside the main thread, and if another handler is installed or
    the signal is ignored, nothing changes.
    """
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not default or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signature of a handler
    os.write(2, b"distgnn: error: interrupted\n")
    os._exit(INTERRUPTED)

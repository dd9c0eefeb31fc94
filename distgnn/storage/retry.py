"""Retries of storage requests: transient errors are retried with exponential backoff and full jitter.

This is the only retry policy: retries of the libraries below are disabled. DISTGNN_STORAGE_PATIENCE limits the total time
of an operation. Failed requests are counted for the metrics.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from distgnn.errors import RequestError, printable

T = TypeVar("T")
VARIABLE = "DISTGNN_STORAGE_PATIENCE"
_DEFAULT_SECONDS = 300.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_SILENT_SECONDS = 3.0
_LINE_SECONDS = 30.0


class _Failures:
    """Counts of this process's failed requests by kind, and the time of the last message."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: Counter[str] = Counter()
        self._formatted = -_LINE_SECONDS

    def add(self, kind: str) -> None:
        with self._lock:
            self._kinds[kind] += 1

    def kinds(self) -> dict[str, int]:
        with self._lock:
            return dict(self._kinds)

    def tell(self, line: str) -> None:
        """Write a line to stderr, rate-limited, since threads and ranks fail together."""
        with self._lock:
            now = time.monotonic()
            due = now - self._formatted >= _LINE_SECONDS
            self._formatted = now if due else self._formatted
        if due:
            sys.stderr.write(f"{printable(line)}\n")
            sys.stderr.flush()


_failures = _Failures()


def errors_seen() -> int:
    """Number of failed storage requests of this process, including retried ones."""
    return sum(_failures.kinds().values())


def errors_by_kind() -> dict[str, int]:
    """Number of failed storage requests by kind: connection, timeout, throttled, server, damaged, refused."""
    return _failures.kinds()


def note_error(kind: str) -> None:
    """Count a failed request."""
    _failures.add(kind)


def patience() -> float:
    """Seconds for which an operation is retried, from DISTGNN_STORAGE_PATIENCE; 0 disables retries.

    Raises:
        RequestError: If the variable is not a non-negative number.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text) if text else _DEFAULT_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise RequestError(f"{VARIABLE}={text!r} must be a number of seconds, 0 or more")
    return seconds


def with_retries(what: str, work: Callable[[], T], kind_of: Callable[[BaseException], str]) -> T:
    """Call ``work`` and retry it on transient errors. After the time limit, the last error is raised unchanged.

    Args:
        what: Description for messages, such as "read s3://b/x".
        work: The operation; it must be idempotent.
        kind_of: Returns the kind of a transient error, "" for other errors, which are raised immediately.

    Returns:
        The result of ``work``.
    """
    limit = patience()

    def passes_by_itself(error: BaseException) -> bool:
        kind = kind_of(error)
        if kind:
            note_error(kind)
        return bool(kind)

    def tell(state: RetryCallState) -> None:
        waited, error = state.seconds_since_start or 0.0, state.outcome and state.outcome.exception()
        if waited >= _SILENT_SECONDS:
            reason = " ".join(str(error).split())[:200]
            _failures.tell(f"storage: cannot {what} ({reason}); trying again for up to {limit - waited:.0f} s")

    retrying = Retrying(
        stop=stop_after_delay(limit),
        wait=wait_random_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE),
        retry=retry_if_exception(passes_by_itself),
        before_sleep=tell,
        reraise=True,
    )
    return retrying(work)

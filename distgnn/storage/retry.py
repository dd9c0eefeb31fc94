"""Patience with storage: what passes by itself is tried again, with pauses that grow, until DISTGNN_STORAGE_PATIENCE is over.

One policy for every request, so libraries below do not retry on their own. Pauses are drawn at random up to a bound that
doubles ("full jitter"), so that many ranks do not come back all at once. Failed requests are counted for the metrics.
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

from distgnn.errors import RequestError

T = TypeVar("T")
VARIABLE = "DISTGNN_STORAGE_PATIENCE"
_DEFAULT_SECONDS = 300.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_SILENT_SECONDS = 3.0
_LINE_SECONDS = 30.0


class _Failures:
    """Failed requests of this process by kind, and when a person was last told."""

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
        """A line on stderr, unless there was one a moment ago: threads and ranks meet the same fault together."""
        with self._lock:
            now = time.monotonic()
            due = now - self._formatted >= _LINE_SECONDS
            self._formatted = now if due else self._formatted
        if due:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


_failures = _Failures()


def errors_seen() -> int:
    """How many storage requests of this process have failed so far, those that were tried again included."""
    return sum(_failures.kinds().values())


def errors_by_kind() -> dict[str, int]:
    """The same by kind: connection, timeout, throttled, server, damaged, refused."""
    return _failures.kinds()


def note_error(kind: str) -> None:
    """Count a failed request."""
    _failures.add(kind)


def patience() -> float:
    """Seconds for which one operation is tried again; 0 = never. Raises RequestError where the variable is no such number."""
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text) if text else _DEFAULT_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise RequestError(f"{VARIABLE}={text!r} must be a number of seconds, 0 or more")
    return seconds


def with_retries(what: str, work: Callable[[], T], kind_of: Callable[[BaseException], str]) -> T:
    """``work()``, which must be safe to repeat, tried again while it raises what ``kind_of`` gives a kind for; others pass.

    what: for people, such as "read s3://b/x". When patience is over the last error is raised as it is.
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

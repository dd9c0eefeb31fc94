"""Whether another process of this machine still exists."""

from __future__ import annotations

import os
from pathlib import Path


def started_at(pid: int) -> str:
    """Start of a process in clock ticks since the boot, to tell processes of the same id apart; "" if it cannot be told."""
    state, start = _stat(pid)
    return start if state not in ("Z", "X") else ""


def is_gone(pid: int, started: str = "") -> bool:
    """Whether the process has ended.

    Args:
        pid: Process id.
        started: Its :func:`started_at`; a process of the same id that started at another time is another one.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    state, start = _stat(pid)
    return state in ("Z", "X") or bool(started and start and start != started)


def _stat(pid: int) -> tuple[str, str]:
    """(state, start) of a process from /proc; empty where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[19]

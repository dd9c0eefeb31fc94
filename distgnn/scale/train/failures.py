"""Failures of Ray workers: a file that records non-retryable errors, and the cause of an exception of Ray."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from ray.train import WorkerGroupError

from distgnn.errors import DivergedError, RequestError, WorkError
from distgnn.storage.folder import Folder
from distgnn.storage.records import MAX_TEXT, Text, read_record

_FAILED = "failed.json"
_KINDS = {kind.__name__: kind for kind in (RequestError, WorkError, DivergedError)}


@dataclass(frozen=True)
class _Note:
    kind: Literal["RequestError", "WorkError", "DivergedError"]
    error: Text


def has_failed(folder: Folder) -> bool:
    """Return whether a worker recorded a non-retryable error."""
    return folder.size(_FAILED) is not None


def note_failure(folder: Folder, error: RequestError | WorkError) -> None:
    """Record a non-retryable error for the driver and restarted worker groups."""
    note = {"kind": type(error).__name__, "error": str(error)[:MAX_TEXT]}
    folder.write(_FAILED, json.dumps(note).encode())


def forget_failure(folder: Folder) -> None:
    """Delete the record."""
    remove_file(folder, _FAILED)


def noted_failure(folder: Folder) -> RequestError | WorkError | None:
    """Return the recorded error; None if there is none."""
    if not has_failed(folder):
        return None
    note = read_record(folder, _FAILED, _Note, "the record of a failure", "remove it")
    return _KINDS[note.kind](note.error)


def raise_noted(folder: Folder) -> None:
    """Raise the recorded error, if there is one."""
    error = noted_failure(folder)
    if error:
        raise error


def remove_file(folder: Folder, name: str) -> None:
    """Delete the file ``name`` if it exists."""
    if folder.size(name) is not None:
        folder.delete(name)


def cause_of(error: Exception) -> Exception:
    """Return the cause of an exception of Ray Train.

    Returns:
        The RequestError or WorkError of a worker; for other errors, a WorkError with a message of one line.
    """
    found = list(error.worker_failures.values()) if isinstance(error, WorkerGroupError) else [error]
    chain = [link for failure in found for link in _links(failure)]
    for link in chain:
        if isinstance(link, RequestError | WorkError):
            return link
    last = str(chain[-1]).strip().splitlines() or [type(chain[-1]).__name__]
    return WorkError(f"training on Ray failed: {last[-1][:300]}; the run folder has the last checkpoint, use --resume")


def _links(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in found:
        found.append(link)
        link = getattr(link, "cause", None) or link.__cause__
    return found

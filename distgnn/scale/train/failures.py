"""What went wrong on workers: notes in a run's folder of what trying again cannot mend, and causes as our own exceptions."""

from __future__ import annotations

import json

from ray.train import WorkerGroupError

from distgnn.errors import DivergedError, RequestError, WorkError
from distgnn.storage.folder import Folder

_FAILED = "failed.json"
_KINDS = {kind.__name__: kind for kind in (RequestError, WorkError, DivergedError)}


def has_failed(folder: Folder) -> bool:
    """Whether a worker noted what trying again cannot mend."""
    return folder.size(_FAILED) is not None


def note_failure(folder: Folder, error: RequestError | WorkError) -> None:
    """Note it for the driver and for worker groups to come."""
    note = {"kind": type(error).__name__, "error": str(error)}
    folder.write(_FAILED, json.dumps(note).encode())


def forget_failure(folder: Folder) -> None:
    """Take the note away."""
    remove_file(folder, _FAILED)


def noted_failure(folder: Folder) -> RequestError | WorkError | None:
    """What a worker noted, if anything."""
    if not has_failed(folder):
        return None
    note = json.loads(folder.read(_FAILED))
    return _KINDS[note["kind"]](note["error"])


def raise_noted(folder: Folder) -> None:
    """Raise what a worker noted, if anything."""
    error = noted_failure(folder)
    if error:
        raise error


def remove_file(folder: Folder, name: str) -> None:
    """Delete a file that may be there."""
    if folder.size(name) is not None:
        folder.delete(name)


def cause_of(error: Exception) -> Exception:
    """What the workers raised: our own exceptions as themselves, anything else as a WorkError of one line."""
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

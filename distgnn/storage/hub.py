"""Repositories on the Hugging Face Hub: ``hf:OWNER/NAME``, or ``hf:OWNER/NAME@REVISION`` to read an older revision.

Everything goes through the client ``huggingface_hub`` (extra ``hub``), so its token (``hf auth login`` or HF_TOKEN) and HF_ENDPOINT
apply.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow.fs as pafs

from distgnn.errors import RequestError, WorkError
from distgnn.storage.folder import Folder
from distgnn.storage.uri import HUB

_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)


@contextmanager
def repository(uri: str) -> Iterator[Folder]:
    """Context manager that opens a repository for reading and converts the client's exceptions to one-line errors.

    Args:
        uri: ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION``.

    Raises:
        RequestError: If the URI is malformed, ``huggingface_hub`` is not installed, or the Hub refuses.
        WorkError: If the transfer fails.
    """
    name, revision = _parse(uri)
    with _errors(uri):
        files = _library().HfFileSystem(endpoint=_endpoint(), skip_instance_cache=True)
        path = f"{name}@{revision}" if revision else name
        yield Folder(pafs.PyFileSystem(pafs.FSSpecHandler(files)), path, uri)


def commit(uri: str, files_of: Callable[[Folder], dict[str, bytes]]) -> None:
    """Write files into a repository, which is made if it does not exist, by one commit.

    Args:
        uri: ``hf:OWNER/NAME``.
        files_of: Returns the files by name, given the repository as it is; if there are none, nothing is written.

    Raises:
        RequestError: If the URI is malformed or names a revision, or the Hub refuses.
        WorkError: If the transfer fails.
    """
    name, revision = _parse(uri)
    if revision:
        raise RequestError(f"{uri}: a revision cannot be written; give {HUB}{name}")
    with repository(uri) as there:
        library = _library()
        api = library.HfApi(endpoint=_endpoint())
        api.create_repo(name, exist_ok=True)
        head = api.model_info(name).sha
        files = files_of(there)
        added = [library.CommitOperationAdd(path_in_repo=part, path_or_fileobj=data) for part, data in files.items()]
        if added:  # parent_commit: refused if someone else has written in the meantime
            api.create_commit(name, added, commit_message="Checkpoint of distgnn", parent_commit=head)


def _parse(uri: str) -> tuple[str, str]:
    found = _NAME.fullmatch(uri.removeprefix(HUB))
    if found is None:
        raise RequestError(f"{uri}: not a repository; write {HUB}OWNER/NAME or {HUB}OWNER/NAME@REVISION")
    return found[1], found[2] or ""


def _library() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise RequestError(
            f"{HUB} needs huggingface_hub, which is not installed: pip install 'distgnn[hub]'"
        ) from error


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def _errors(uri: str) -> Iterator[None]:
    """Convert exceptions: a refusal (no token, status 4xx) to RequestError, all else to WorkError."""
    _library()
    errors = importlib.import_module("huggingface_hub.errors")
    failures = (OSError, *errors.HfHubHTTPError.__bases__)  # the base class is that of the client's HTTP library
    try:
        yield
    except (errors.LocalTokenNotFoundError, errors.HFValidationError) as error:
        raise RequestError(f"{uri}: {_line(error)}") from error
    except failures as error:
        answer = getattr(error, "response", None)
        status = 0 if answer is None else answer.status_code
        remedy = "; log in with: hf auth login" if status in (401, 403) else ""
        raise (RequestError if 400 <= status < 500 else WorkError)(f"{uri}: {_line(error)}{remedy}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())

"""Folders that are whole or are not there: checksums.json is written last and names every file. Nothing is ever unpickled.

Checkpoints and fine-tuned models are such folders, each of a kind of its own.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass

from distgnn.config.base import read_json
from distgnn.errors import RequestError, WorkError
from distgnn.storage.folder import Folder, storage_errors

CHECKSUMS = "checksums.json"


@dataclass(frozen=True)
class Kind:
    """What a sealed folder holds. word: how messages call it. name, version: of its format. files: exactly those it has."""

    word: str
    name: str
    version: int
    files: tuple[str, ...]


def seal(files: dict[str, bytes], kind: Kind) -> bytes:
    """checksums.json of ``files``."""
    entries = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}
    return json.dumps(
        {"format": kind.name, "version": kind.version, "files": entries}, indent=1, sort_keys=True
    ).encode()


def publish(folder: Folder, files: dict[str, bytes], seal_bytes: bytes) -> None:
    """Write ``files`` to ``folder`` so that it is whole or not there: renamed into place, or checksums.json put last.

    What lies there must not be whole; the remains of an unfinished one are replaced.
    """
    local = folder.local
    target = _beside(folder) if local else folder
    try:
        for name, data in files.items():
            target.write(name, data)
        target.write(CHECKSUMS, seal_bytes)
    except (RequestError, WorkError):
        if local and target.names():
            target.filesystem.delete_dir(target.path)
        raise
    if local:
        with storage_errors("write", folder.uri):
            if folder.names():
                folder.filesystem.delete_dir(folder.path)
            folder.filesystem.move(target.path, folder.path)


def _beside(folder: Folder) -> Folder:
    path, tail = folder.path, f".tmp-{uuid.uuid4().hex[:8]}"
    return Folder(folder.filesystem, f"{path}{tail}", f"{folder.uri}{tail}")


def read_verified(folder: Folder, kind: Kind) -> tuple[dict[str, bytes], bytes]:
    """(files by name, checksums.json) of a folder, every byte checked; RequestError naming what is missing or changed."""
    if folder.size(CHECKSUMS) is None:
        raise RequestError(f"{folder.uri}: not a whole {kind.word} ({CHECKSUMS} is missing)")
    raw = folder.read(CHECKSUMS)
    where = folder.at(CHECKSUMS)
    try:
        sealed = read_json(raw)
        name, version, entries = sealed["format"], sealed["version"], dict(sealed["files"])
        wanted = {file: str(entry["sha256"]) for file, entry in entries.items()}
    except RequestError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{where}: not a list of checksums ({error}); pull the {kind.word} again") from error
    if (name, version) != (kind.name, kind.version):
        raise RequestError(
            f"{where}: {name} version {version} is unknown; this distgnn reads {kind.name} version {kind.version}"
        )
    if set(wanted) != set(kind.files):
        odd = min(set(wanted) ^ set(kind.files))
        raise RequestError(f"{where}: lists other files than a {kind.word} has ({odd!r}); refusing it")
    files = {file: _read_one(folder, file, digest, kind) for file, digest in sorted(wanted.items())}
    return files, raw


def _read_one(folder: Folder, name: str, digest: str, kind: Kind) -> bytes:
    if folder.size(name) is None:
        raise RequestError(f"{folder.at(name)}: missing from the {kind.word}; pull it again")
    data = folder.read_sealed(name, digest)
    if data is None:
        raise RequestError(
            f"{folder.at(name)}: wrong checksum, the file was changed or damaged; pull the {kind.word} again"
        )
    return data

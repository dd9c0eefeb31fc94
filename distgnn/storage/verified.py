"""Verified folders: checksums.json is written last and lists the sha256 of every file. Nothing is unpickled.

Checkpoints and fine-tuned models are verified folders, each with its own :class:`Kind`.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from distgnn.errors import RequestError, WorkError
from distgnn.storage.folder import Folder, storage_errors
from distgnn.storage.records import Count, Digest, Name, Small, check_version, convert, parse_object

CHECKSUMS = "checksums.json"
_WHAT = "a list of checksums"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Kind:
    """Format of a verified folder.

    Attributes:
        word: What messages call it, such as "checkpoint".
        name: Name of the format.
        version: Version of the format.
        files: All its files, except checksums.json.
    """

    word: str
    name: str
    version: int
    files: tuple[str, ...]


@dataclass(frozen=True)
class Checksums:
    """A parsed checksums.json.

    Attributes:
        raw: Contents of the file.
        sha256: Digest by file name.
    """

    raw: bytes
    sha256: dict[str, str]

    @property
    def key(self) -> str:
        """Identity of the folder's contents: sha256 of checksums.json."""
        return hashlib.sha256(self.raw).hexdigest()


@dataclass(frozen=True)
class _Entry:
    sha256: Digest
    bytes: Count = 0


@dataclass(frozen=True)
class _Sealed:
    format: Name
    version: Small
    files: dict[str, _Entry]


def seal(files: dict[str, bytes], kind: Kind) -> bytes:
    """Contents of checksums.json for ``files``."""
    entries = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}
    return json.dumps(
        {"format": kind.name, "version": kind.version, "files": entries}, indent=1, sort_keys=True
    ).encode()


def publish(folder: Folder, files: dict[str, bytes], seal_bytes: bytes) -> None:
    """Write ``files`` and checksums.json to ``folder`` atomically: by rename on a local file system, else checksums.json last.

    Args:
        folder: The target. It must not be complete; an incomplete one is replaced.
        files: Contents by file name.
        seal_bytes: Contents of checksums.json.
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


def read_checksums(folder: Folder, kind: Kind) -> Checksums:
    """Read and parse checksums.json of ``folder``.

    Raises:
        RequestError: If it is missing, malformed or of another format than ``kind``.
    """
    raw = folder.read_if_there(CHECKSUMS, _MAX_BYTES)
    if raw is None:
        raise RequestError(f"{folder.uri}: not a complete {kind.word} ({CHECKSUMS} is missing)")
    return parse_checksums(raw, folder.at(CHECKSUMS), kind)


def parse_checksums(raw: bytes, where: str, kind: Kind) -> Checksums:
    """Parse the contents of checksums.json.

    Args:
        raw: The contents.
        where: URI of the file, for messages.
        kind: The expected format.

    Raises:
        RequestError: If it is malformed or of another format.
    """
    data = parse_object(raw, where, _WHAT, f"pull the {kind.word} again")
    if data.get("format", kind.name) != kind.name:
        raise RequestError(f"{where}: {str(data['format'])[:80]!r} is not the format of a {kind.word} ({kind.name})")
    check_version(data, kind.version, where, _WHAT, f"pull the {kind.word} again")
    sealed = convert(data, _Sealed, where, _WHAT, f"pull the {kind.word} again")
    wanted = {name: entry.sha256 for name, entry in sealed.files.items()}
    if set(wanted) != set(kind.files):
        odd = min(set(wanted) ^ set(kind.files))
        raise RequestError(f"{where}: lists other files than a {kind.word} has ({odd!r}); refusing it")
    return Checksums(raw, wanted)


def read_files(folder: Folder, kind: Kind, checksums: Checksums, names: Sequence[str]) -> dict[str, bytes]:
    """Read the files ``names`` of ``folder``, each verified against ``checksums``.

    Raises:
        RequestError: If a file is missing or its checksum is wrong.
    """
    return {name: _read_one(folder, name, checksums.sha256[name], kind) for name in sorted(names)}


def read_verified(folder: Folder, kind: Kind) -> tuple[dict[str, bytes], bytes]:
    """Read and verify all files of ``folder``.

    Returns:
        The contents by file name, and the contents of checksums.json.

    Raises:
        RequestError: If a file is missing or its checksum is wrong.
    """
    checksums = read_checksums(folder, kind)
    return read_files(folder, kind, checksums, kind.files), checksums.raw


def _read_one(folder: Folder, name: str, digest: str, kind: Kind) -> bytes:
    try:
        data = folder.read_checked(name, digest)
    except RequestError as error:
        if folder.size(name) is None:
            raise RequestError(f"{folder.at(name)}: missing from the {kind.word}; pull it again") from error
        raise
    if data is None:
        raise RequestError(
            f"{folder.at(name)}: wrong checksum, the file was changed or damaged; pull the {kind.word} again"
        )
    return data

"""Verified folders: checksums.json is written last and lists the sha256 of every file. Nothing is unpickled.

Checkpoints and fine-tuned models are verified folders, each with its own :class:`Kind`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from distgnn.errors import RequestError
from distgnn.storage.claim import claim, settle
from distgnn.storage.folder import Folder, storage_errors
from distgnn.storage.records import Count, Digest, Name, Small, check_version, convert, parse_object
from distgnn.storage.temporary import temporary_tail

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
        kind: Format of the folder.
    """

    raw: bytes
    sha256: dict[str, str]
    kind: Kind

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
    """Write ``files`` and checksums.json to a new folder: by rename on a local file system, else checksums.json last.

    Nothing is looked up, so an object store needs one request per file: the caller knows that the folder is its own.

    Args:
        folder: The target. A local one must be absent or empty.
        files: Contents by file name.
        seal_bytes: Contents of checksums.json.

    Raises:
        RequestError: If the local folder is not empty, or not permitted.
    """
    if not folder.local:
        _write(folder, files, seal_bytes)
        return
    target = Folder(folder.filesystem, os.path.realpath(folder.path), folder.uri)
    staged = _beside(target)
    try:
        _write(staged, files, seal_bytes)
        _move(staged, target)
    finally:
        shutil.rmtree(staged.path, ignore_errors=True)


def publish_safely(folder: Folder, files: dict[str, bytes], seal_bytes: bytes, kind: Kind) -> None:
    """Like :func:`publish`, for a folder that may hold other things; a complete folder of the same kind is replaced.

    Files of others are never overwritten: a file of the same name must belong to a complete folder of ``kind``, or be claimed
    by an unfinished command (:mod:`distgnn.storage.claim`).

    Raises:
        RequestError: If the folder holds files of these names that are not ours.
    """
    if folder.local and not folder.names():
        publish(folder, files, seal_bytes)
        return
    whole, names = folder.read_if_there(CHECKSUMS), (*files, CHECKSUMS)
    if whole is not None:
        parse_checksums(whole, folder.at(CHECKSUMS), kind)  # refuses the checksums of others
    claim(folder, names, kind.word, ours=() if whole is None else names)
    if whole is not None:
        folder.delete(CHECKSUMS)
    _write(folder, files, seal_bytes)
    settle(folder)


def remove_verified(parent: Folder, name: str, kind: Kind) -> None:
    """Delete the folder ``name`` of ``parent`` such that a partly deleted one is never taken for complete.

    Only the files of ``kind`` are deleted, so other files in the folder, and then the folder itself, stay; a symbolic link
    is deleted, not what it leads to. A local folder without other files is renamed first. An object store is not listed:
    checksums.json is deleted first.
    """
    folder = parent.sub(name)
    ours = {CHECKSUMS, *kind.files}
    if folder.local and (os.path.islink(folder.path) or set(folder.names()) <= ours):
        parent.delete_folder(name)
        return
    for file in (CHECKSUMS, *kind.files):
        if not folder.local or folder.size(file) is not None:
            folder.delete(file)


def _write(folder: Folder, files: dict[str, bytes], seal_bytes: bytes) -> None:
    for name, data in files.items():
        folder.write(name, data)
    folder.write(CHECKSUMS, seal_bytes)


def _move(staged: Folder, target: Folder) -> None:
    with storage_errors("write", target.uri):
        try:
            os.rename(staged.path, target.path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            first = (target.names() or ["a file"])[0]
            raise RequestError(
                f"{target.uri}: the folder holds other things ({first}); choose an empty target"
            ) from error


def _beside(folder: Folder) -> Folder:
    tail = temporary_tail()
    return Folder(folder.filesystem, f"{folder.path}{tail}", f"{folder.uri}{tail}")


def read_checksums(folder: Folder, *kinds: Kind) -> Checksums:
    """Read and parse checksums.json of ``folder``.

    Raises:
        RequestError: If it is missing, malformed or of another format than ``kinds``.
    """
    raw = folder.read_if_there(CHECKSUMS, _MAX_BYTES)
    if raw is None:
        raise RequestError(f"{folder.uri}: not a complete {kinds[0].word} ({CHECKSUMS} is missing)")
    return parse_checksums(raw, folder.at(CHECKSUMS), *kinds)


def parse_checksums(raw: bytes, where: str, *kinds: Kind) -> Checksums:
    """Parse the contents of checksums.json.

    Args:
        raw: The contents.
        where: URI of the file, for messages.
        kinds: The expected formats.

    Raises:
        RequestError: If it is malformed or of another format.
    """
    first = kinds[0]
    data = parse_object(raw, where, _WHAT, f"pull the {first.word} again")
    kind = next((kind for kind in kinds if kind.name == data.get("format", first.name)), None)
    if kind is None:
        raise RequestError(f"{where}: {str(data['format'])[:80]!r} is not the format of a {first.word} ({first.name})")
    check_version(data, kind.version, where, _WHAT, f"pull the {kind.word} again")
    sealed = convert(data, _Sealed, where, _WHAT, f"pull the {kind.word} again")
    wanted = {name: entry.sha256 for name, entry in sealed.files.items()}
    if set(wanted) != set(kind.files):
        odd = min(set(wanted) ^ set(kind.files))
        raise RequestError(f"{where}: lists other files than a {kind.word} has ({odd!r}); refusing it")
    return Checksums(raw, wanted, kind)


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

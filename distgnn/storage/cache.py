"""Local cache of verified folders, keyed by content: DISTGNN_CACHE (default ~/.cache/distgnn)/sha256 of checksums.json/.

Files are written atomically and verified on each read. checksums.json is written last, so an entry without it may be
incomplete. Entries may be deleted at any time.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

from distgnn.errors import RequestError, WorkError
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.temporary import remove_left_over
from distgnn.storage.verified import CHECKSUMS, Checksums, Kind, read_files


def read_cached(origin: Folder, kind: Kind, checksums: Checksums, names: Sequence[str]) -> dict[str, bytes]:
    """Read the files ``names`` of ``origin``, each verified, and cache what was downloaded.

    Local folders are read directly. If the cache cannot be written, a warning is issued.

    Args:
        origin: A verified folder.
        kind: Its format.
        checksums: Its checksums.
        names: The files to read.

    Returns:
        The contents by file name.

    Raises:
        RequestError: If a file that is not in the cache is missing from ``origin`` or its checksum is wrong.
    """
    if origin.local:
        return read_files(origin, kind, checksums, names)
    entry = _entry(checksums)
    files, missing = _kept(entry, checksums, names)
    downloaded = read_files(origin, kind, checksums, missing)
    try:
        for name, data in downloaded.items():
            entry.write(name, data)
    except (RequestError, WorkError) as error:
        warnings.warn(f"{origin.uri} is not cached: {error}", stacklevel=2)
    return files | downloaded


def pull_to_cache(origin: Folder, kind: Kind, checksums: Checksums) -> Folder:
    """Download the files of ``origin`` that are missing or damaged in the cache, then write checksums.json.

    Args:
        origin: A verified folder.
        kind: Its format.
        checksums: Its checksums.

    Returns:
        The cache entry.

    Raises:
        RequestError: If a file is missing from ``origin``, its checksum is wrong, or the cache cannot be written.
    """
    entry = _entry(checksums)
    remove_left_over(entry.path)
    missing = _kept(entry, checksums, kind.files)[1]
    for name, data in read_files(origin, kind, checksums, missing).items():
        entry.write(name, data)
    if entry.read_if_there(CHECKSUMS) != checksums.raw:
        entry.write(CHECKSUMS, checksums.raw)
    return entry


def _entry(checksums: Checksums) -> Folder:
    root = os.environ.get("DISTGNN_CACHE") or os.path.expanduser(os.path.join("~", ".cache", "distgnn"))
    if root.startswith("~"):
        raise RequestError("there is no home folder for the cache; set DISTGNN_CACHE to a folder, or HOME")
    return open_folder(root).sub(checksums.key)


def _kept(entry: Folder, checksums: Checksums, names: Sequence[str]) -> tuple[dict[str, bytes], list[str]]:
    """(files of the cache entry with the right checksum, names of all others)."""
    read = {name: _read_kept(entry, name, checksums.sha256[name]) for name in names}
    found = {name: data for name, data in read.items() if data is not None}
    return found, [name for name in names if name not in found]


def _read_kept(entry: Folder, name: str, digest: str) -> bytes | None:
    try:
        return entry.read_checked(name, digest) if entry.size(name) is not None else None
    except (RequestError, WorkError):
        return None

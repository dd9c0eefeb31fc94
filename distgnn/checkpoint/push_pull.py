"""Copies of checkpoints between paths and URIs, verified on both sides, whole or not there at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from distgnn.checkpoint.format import FILES, read_verified, resolve
from distgnn.errors import RequestError, WorkError
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.verified import CHECKSUMS, publish


def push(source: str, target: str) -> str:
    """Copy the checkpoint at ``source`` (or the newest of the run there) to ``target``; returns the target's URI.

    An identical checkpoint at the target is left as it is; anything else there is refused with RequestError.
    """
    files, sealed = read_verified(resolve(source))
    return _place(files, sealed, open_folder(target))


def pull(source: str, target: str = "") -> str:
    """Copy a checkpoint home; returns the local folder. Without ``target``: into a cache keyed by content.

    The cache lies under DISTGNN_CACHE (default ~/.cache/distgnn); a whole copy there is not fetched again.
    """
    if target:
        return push(source, target)
    origin = resolve(source)
    digest = hashlib.sha256(origin.read(CHECKSUMS)).hexdigest()
    root = os.environ.get("DISTGNN_CACHE") or str(Path.home() / ".cache" / "distgnn")
    kept = open_folder(root).sub(digest)
    if kept.size(CHECKSUMS) is not None and _is_whole(kept):
        return kept.uri
    files, sealed = read_verified(origin)
    if kept.size(CHECKSUMS) is not None:  # damaged in the cache: the content is known, so it may be replaced
        kept.delete(CHECKSUMS)
    return _place(files, sealed, kept)


def _is_whole(folder: Folder) -> bool:
    try:
        read_verified(folder)
    except RequestError:
        return False
    return True


def _place(files: dict[str, bytes], sealed: bytes, folder: Folder) -> str:
    if folder.size(CHECKSUMS) is not None:
        if folder.read(CHECKSUMS) != sealed:
            raise RequestError(f"{folder.uri}: another checkpoint is already there; choose another target")
        read_verified(folder)
        return folder.uri
    foreign = sorted(set(folder.names()) - set(FILES))
    if foreign:
        raise RequestError(f"{folder.uri}: the folder holds other things ({foreign[0]}); choose an empty target")
    publish(folder, files, sealed)
    if read_verified(folder)[1] != sealed:
        raise WorkError(f"{folder.uri}: the copy differs from its source; someone else wrote there, try another target")
    return folder.uri

"""Copies of checkpoints between paths and URIs, verified on both sides, whole or not there at all."""

from __future__ import annotations

from distgnn.checkpoint.format import FILES, KIND, first_whole, read_verified
from distgnn.errors import RequestError, WorkError
from distgnn.storage.cache import pull_to_cache
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.verified import CHECKSUMS, Checksums, publish, read_files


def push(source: str, target: str) -> str:
    """Copy the checkpoint at ``source`` (or the newest of the run there) to ``target``; returns the target's URI.

    An identical checkpoint at the target is left as it is; anything else there is refused with RequestError.
    """

    def read(folder: Folder, checksums: Checksums) -> tuple[dict[str, bytes], bytes]:
        return read_files(folder, KIND, checksums, FILES), checksums.raw

    return _place(*first_whole(source, read), open_folder(target))


def pull(source: str, target: str = "") -> str:
    """Copy a checkpoint to this machine; returns the local folder.

    Args:
        source: The checkpoint, or a run whose newest checkpoint is meant.
        target: The local folder. Empty: an entry of the cache keyed by content (see :mod:`distgnn.storage.cache`); files
            that are whole there are not fetched again.
    """
    if target:
        return push(source, target)
    return first_whole(source, lambda folder, checksums: pull_to_cache(folder, KIND, checksums)).uri


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

"""Copies of checkpoints between paths and URIs, verified on both sides and atomic."""

from __future__ import annotations

from distgnn.checkpoint.format import FILES, KIND, first_whole, read_verified
from distgnn.errors import RequestError, WorkError
from distgnn.storage.cache import pull_to_cache
from distgnn.storage.claim import CLAIM, claimed, settle
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.lock import LOCK, locked
from distgnn.storage.temporary import remove_left_over_beside
from distgnn.storage.verified import CHECKSUMS, Checksums, publish_safely, read_files


def push(source: str, target: str) -> str:
    """Copy the checkpoint at ``source``, or the newest one of the run there, to ``target``.

    An identical checkpoint at the target is left in place.

    Returns:
        The URI of the target.

    Raises:
        RequestError: If there is no complete checkpoint at ``source``, or ``target`` holds something else.
        WorkError: If the copy differs from its source.
    """

    def read(folder: Folder, checksums: Checksums) -> tuple[dict[str, bytes], bytes]:
        return read_files(folder, KIND, checksums, FILES), checksums.raw

    folder = open_folder(target)
    files, sealed = first_whole(source, read)
    if folder.local:  # a rename decides between two writers
        remove_left_over_beside(folder.path)
        return _place(files, sealed, folder)
    with locked(folder):
        return _place(files, sealed, folder)


def pull(source: str, target: str = "") -> str:
    """Copy a checkpoint to this machine.

    Args:
        source: A checkpoint, or a run (its newest checkpoint is copied).
        target: The local folder. If empty, the checkpoint is stored in the local cache (:mod:`distgnn.storage.cache`), and
            files that are complete there are not downloaded again.

    Returns:
        The local folder.
    """
    if target:
        return push(source, target)
    return first_whole(source, lambda folder, checksums: pull_to_cache(folder, KIND, checksums)).uri


def _place(files: dict[str, bytes], sealed: bytes, folder: Folder) -> str:
    if folder.size(CHECKSUMS) is not None:
        if folder.read(CHECKSUMS) != sealed:
            raise RequestError(f"{folder.uri}: another checkpoint is already there; choose another target")
        read_verified(folder)
        settle(folder)  # it was killed after the last file
        return folder.uri
    foreign = sorted(set(folder.names()) - claimed(folder) - {CLAIM, LOCK})
    if foreign:
        raise RequestError(f"{folder.uri}: the folder holds other things ({foreign[0]}); choose an empty target")
    publish_safely(folder, files, sealed, KIND)
    if read_verified(folder)[1] != sealed:
        raise WorkError(f"{folder.uri}: the copy differs from its source; someone else wrote there, try another target")
    return folder.uri

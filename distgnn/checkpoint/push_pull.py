"""Copies of checkpoints between paths and URIs, verified on both sides and atomic."""

from __future__ import annotations

import os
from pathlib import Path

import safetensors.torch

from distgnn.checkpoint.format import DATABASE_MODEL, KIND, first_whole
from distgnn.errors import RequestError, WorkError
from distgnn.storage import hub
from distgnn.storage.cache import pull_to_cache
from distgnn.storage.claim import CLAIM, claimed, settle
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.lock import LOCK, locked
from distgnn.storage.temporary import remove_left_over_beside
from distgnn.storage.uri import HUB, text_of
from distgnn.storage.verified import CHECKSUMS, Checksums, Kind, publish_safely, read_files, read_verified, seal

_KINDS = (KIND, DATABASE_MODEL)
_MAX_CARD = 1 << 20
_README, _HEADER = "README.md", b"---\nlibrary_name: distgnn\ntags:\n- graph-machine-learning\n---\n\n"


def push(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    weights_only: bool = False,
    card: str | os.PathLike[str] = "",
) -> str:
    """Copy the checkpoint at ``source``, of an encoder or of a database model, or the newest one of the run there, to ``target``.

    An identical checkpoint at the target is left in place.

    Args:
        source: A checkpoint, or a run (its newest checkpoint is copied); also ``hf:OWNER/NAME`` on the Hugging Face Hub.
        target: The folder of the copy, or ``hf:OWNER/NAME``, which keeps older checkpoints in its history.
        weights_only: Leave out the optimiser state. The copy serves for everything but resuming the run.
        card: Markdown file that replaces the model card; empty = keep it.

    Returns:
        The URI of the target.

    Raises:
        RequestError: If there is no complete checkpoint at ``source``, ``target`` holds something else, or ``card`` is not a
            text file of at most 1 MiB.
        WorkError: If the copy differs from its source.

    Example:
        >>> distgnn.push(run, "s3://models/zinc", weights_only=True)
    """
    source, target, card = text_of(source), text_of(target), text_of(card)

    def read(folder: Folder, checksums: Checksums) -> tuple[dict[str, bytes], bytes, Kind]:
        kind = checksums.kind
        return read_files(folder, kind, checksums, kind.files), checksums.raw, kind

    folder = None if target.startswith(HUB) else open_folder(target)
    files, sealed, kind = first_whole(source, read, _KINDS)
    changed = _changes(weights_only, card)
    if changed:
        files |= changed
        sealed = seal(files, kind)
    if folder is None:
        return _push_to_hub(target, files, sealed, kind)
    if folder.local:  # a rename decides between two writers
        remove_left_over_beside(folder.path)
        return _place(files, sealed, folder, kind)
    with locked(folder):
        return _place(files, sealed, folder, kind)


def _changes(weights_only: bool, card: str) -> dict[str, bytes]:
    changed = {"state.safetensors": safetensors.torch.save({})} if weights_only else {}
    return changed | ({"card.md": _read_card(card)} if card else {})


def _read_card(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_CARD + 1)
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: the model card cannot be read ({error}); give a Markdown file") from error
    if len(data) > _MAX_CARD or not _is_utf8(data):
        raise RequestError(f"{path}: this is no model card; give at most 1 MiB of UTF-8 text")
    return data


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def pull(source: str | os.PathLike[str], target: str | os.PathLike[str] = "") -> str:
    """Copy a checkpoint to this machine.

    Args:
        source: A checkpoint, or a run (its newest checkpoint is copied).
        target: The local folder. If empty, the checkpoint is stored in the local cache (:mod:`distgnn.storage.cache`), and
            files that are complete there are not downloaded again.

    Returns:
        The local folder.

    Raises:
        RequestError: If there is no complete checkpoint at ``source``, or ``target`` holds something else.
        WorkError: If the copy differs from its source.

    Example:
        >>> encoder = distgnn.load_encoder(distgnn.pull("s3://models/zinc"))
    """
    source, target = text_of(source), text_of(target)
    if target:
        return push(source, target)
    return first_whole(source, lambda folder, found: pull_to_cache(folder, found.kind, found), _KINDS).uri


def _push_to_hub(uri: str, files: dict[str, bytes], sealed: bytes, kind: Kind) -> str:
    """Commit a checkpoint; one that is already there stays in the repository's history.

    The model card is also the repository's README.md, unless someone else wrote that.
    """

    def parts(there: Folder) -> dict[str, bytes]:
        names = set(there.names())
        foreign = sorted(names & set(kind.files))
        if foreign and CHECKSUMS not in names:
            raise RequestError(f"{uri}: the repository holds other things ({foreign[0]}); choose another name")
        if there.read_if_there(CHECKSUMS) == sealed:
            return {}
        readme = there.read_if_there(_README)
        mine = readme is None or ("card.md" in names and readme == _HEADER + there.read("card.md"))
        return files | {CHECKSUMS: sealed} | ({_README: _HEADER + files["card.md"]} if mine else {})

    hub.commit(uri, parts)
    with hub.repository(uri) as folder:
        return _compared(folder, sealed, kind)


def _compared(folder: Folder, sealed: bytes, kind: Kind) -> str:
    if read_verified(folder, kind)[1] != sealed:
        raise WorkError(f"{folder.uri}: the copy differs from its source; someone else wrote there, try another target")
    return folder.uri


def _place(files: dict[str, bytes], sealed: bytes, folder: Folder, kind: Kind) -> str:
    if folder.size(CHECKSUMS) is None:
        try:
            _refuse_others(folder)
            publish_safely(folder, files, sealed, kind)
            return _compared(folder, sealed, kind)
        except RequestError:
            if folder.size(CHECKSUMS) is None:  # else another process has put a checkpoint there meanwhile
                raise
    if folder.read(CHECKSUMS) != sealed:
        raise RequestError(f"{folder.uri}: another checkpoint is already there; choose another target")
    read_verified(folder, kind)
    settle(folder)  # it was killed after the last file
    return folder.uri


def _refuse_others(folder: Folder) -> None:
    foreign = sorted(set(folder.names()) - claimed(folder) - {CLAIM, LOCK})
    if foreign:
        raise RequestError(f"{folder.uri}: the folder holds other things ({foreign[0]}); choose an empty target")

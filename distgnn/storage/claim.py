"""Claims: a file that marks the files of an unfinished folder as ours, so that those of others are never overwritten."""

from __future__ import annotations

import json
from collections.abc import Iterable

from distgnn.errors import RequestError
from distgnn.storage.folder import Folder
from distgnn.storage.records import MAX_BYTES, parse_object

CLAIM = "_unfinished.json"
_FORMAT = "distgnn-claim"


def claimed(folder: Folder) -> set[str]:
    """Names of the files that an unfinished command of ours was going to write to ``folder``; empty if there is no claim."""
    raw = folder.read_if_there(CLAIM, MAX_BYTES)
    try:
        data = parse_object(raw, folder.at(CLAIM), "a claim") if raw else {}
        return {str(name) for name in data["files"]} if data.get("format") == _FORMAT else set()
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()


def claim(folder: Folder, names: Iterable[str], what: str, ours: Iterable[str] = ()) -> None:
    """Claim the files ``names`` of ``folder`` before the first of them is written; :func:`settle` ends the claim.

    Args:
        folder: The folder.
        names: Names of the files that will be written; they may be in subfolders.
        what: What they are, such as "checkpoint", for the error message.
        ours: Names of files that are known to be ours, such as those that a manifest lists.

    Raises:
        RequestError: One of the files exists and was not claimed by an earlier, unfinished command, or the claim is none.
    """
    wanted = sorted(set(names))
    top, begun = set(folder.names()), claimed(folder)
    known = begun | set(ours)
    if CLAIM in top and not begun:
        raise RequestError(f"{folder.at(CLAIM)}: not a claim of distgnn; choose an empty target")
    new = [name for name in wanted if name not in known and name.partition("/")[0] in top]
    foreign = [name for name in new if "/" not in name or folder.size(name) is not None]
    if foreign:
        raise RequestError(
            f"{folder.uri}: the folder holds other things ({foreign[0]}), no {what} of distgnn; choose an empty target"
        )
    folder.write(CLAIM, json.dumps({"format": _FORMAT, "files": wanted}).encode())


def settle(folder: Folder) -> None:
    """End our claim of a folder whose files are complete, if there is one."""
    if claimed(folder):
        folder.delete(CLAIM)

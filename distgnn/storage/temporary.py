"""Temporary files beside their target, named after the process that writes them, and their removal when it was killed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import uuid
from functools import lru_cache

from distgnn.storage.process import is_gone

_TAIL = re.compile(r".+\.distgnn-tmp-([0-9a-f]{8})-(\d+)-([0-9a-f]{8})")


def temporary_tail() -> str:
    """A unique suffix for a temporary file or folder of this process."""
    return f".distgnn-tmp-{machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


@lru_cache(maxsize=1)
def machine() -> str:
    """Digest of this machine and its process ids, which containers of one machine do not share."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def is_left_over(name: str) -> bool:
    """Whether ``name`` is that of a temporary file of a process of this machine that has ended."""
    found = _TAIL.fullmatch(name)
    return found is not None and found[1] == machine() and is_gone(int(found[2]))


def remove_left_over(path: str, deep: bool = True) -> None:
    """Delete temporary files and folders below the local folder ``path`` that killed processes of this machine left behind.

    Args:
        path: The folder; it may be missing.
        deep: Also look into its subfolders.
    """
    for place, folders, files in os.walk(path):
        for name in filter(is_left_over, files):
            try:
                os.unlink(os.path.join(place, name))
            except OSError:  # another process was faster, or it is not ours to delete
                continue
        for name in filter(is_left_over, folders):
            shutil.rmtree(os.path.join(place, name), ignore_errors=True)
        folders[:] = [name for name in folders if deep and not is_left_over(name)]


def remove_left_over_beside(path: str) -> None:
    """Delete the temporary folders of the target ``path`` that killed processes of this machine left beside it."""
    parent, own = os.path.split(os.path.realpath(path))
    names = os.listdir(parent) if os.path.isdir(parent) else []
    for name in names:
        if name.startswith(f"{own}.distgnn-tmp-") and is_left_over(name):
            shutil.rmtree(os.path.join(parent, name), ignore_errors=True)

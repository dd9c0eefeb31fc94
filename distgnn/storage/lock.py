"""Locks of output folders: the second writer is told who writes there; the locks of commands that have ended are taken over."""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

from distgnn.errors import RequestError, WorkError
from distgnn.storage.folder import Folder
from distgnn.storage.process import is_gone, started_at
from distgnn.storage.records import MAX_BYTES, Name, Seconds, Small, parse_record
from distgnn.storage.temporary import machine, remove_left_over

LOCK = "_lock.json"
_TRIES = 5
_RENEW_SECONDS = 20.0
_WATCH_SECONDS = 65.0  # more than three renewals
_STALE_SECONDS = 3600.0
_RELEASE_SECONDS = 10.0


@dataclass(frozen=True)
class Holder:
    """The command that holds a lock.

    Attributes:
        token: Random, to tell holders apart.
        owner: Name of its user.
        host: Name of its machine.
        machine: Digest of machine and process id space; process ids of others say nothing.
        pid: Process id.
        process: Start of the process, see :func:`~distgnn.storage.process.started_at`.
        renewed: Unix time of the last renewal.
    """

    token: Name = field(default_factory=lambda: secrets.token_hex(8))
    owner: Name = ""
    host: Name = field(default_factory=socket.gethostname)
    machine: Name = field(default_factory=machine)
    pid: Small = field(default_factory=os.getpid)
    process: Name = field(default_factory=lambda: started_at(os.getpid()))
    renewed: Seconds = field(default_factory=time.time)

    def __str__(self) -> str:
        when = datetime.fromtimestamp(min(max(self.renewed, 0.0), 4e9), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{self.owner!a} on {self.host!a}, process {self.pid}, last seen {when}".replace("'", "")

    def to_bytes(self) -> bytes:
        """Contents of the lock file."""
        return json.dumps(asdict(self)).encode()

    @property
    def dead(self) -> bool:
        """Whether its process has certainly ended: it is gone from this machine, or was last seen elsewhere an hour ago."""
        if self.machine == machine():
            return is_gone(self.pid, self.process)
        return time.time() - self.renewed > _STALE_SECONDS


@contextmanager
def locked(folder: Folder) -> Iterator[None]:
    """Context manager that holds the lock of ``folder``, and cleans up after killed commands when it gets it.

    The lock is a file in the folder, which is created if needed and removed again if nothing else was written. A thread renews
    it every 20 s. Workers of a command need no lock: their driver holds it.

    Raises:
        RequestError: Another command holds it.
    """
    made = _missing_folders(folder)
    holder = Holder(owner=_user())
    try:
        _acquire(folder, holder)
    except (RequestError, WorkError):
        _remove_empty(made)
        raise
    if folder.local:
        remove_left_over(folder.path)
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(folder, holder, made, over), name="distgnn-lock", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join(_RELEASE_SECONDS)  # no longer, if storage does not answer: this machine takes the lock over at once


def _acquire(folder: Folder, holder: Holder) -> None:
    data = holder.to_bytes()
    for _ in range(_TRIES):
        found = _read(folder)
        if found is None:
            folder.write_new(LOCK, data)
            continue
        raw, other = found
        if other.token == holder.token:  # read again, since some servers ignore the condition of a write
            return
        if not other.dead and (other.machine == machine() or _is_renewed(folder, raw, other)):
            raise RequestError(
                f"{folder.uri}: another command writes here ({other}); wait for its end, or choose another folder"
            )
        if folder.replace(LOCK, raw, data):
            sys.stderr.write(f"distgnn: {folder.uri}: took over the lock of a command that has ended ({other})\n")
    raise WorkError(f"{folder.at(LOCK)}: cannot be written and read back; check the storage")


def _is_renewed(folder: Folder, raw: bytes, other: Holder) -> bool:
    """Whether the holder on another machine renews its lock. Watched, since clocks of machines may differ."""
    sys.stderr.write(f"distgnn: {folder.uri}: waits up to {_WATCH_SECONDS:.0f} s to see whether {other} still runs\n")
    until = time.monotonic() + _WATCH_SECONDS
    while time.monotonic() < until:
        time.sleep(_WATCH_SECONDS / 65)
        found = _read(folder)
        if found is None or found[0] != raw:
            return found is not None and found[1].token == other.token
    return False


def _read(folder: Folder) -> tuple[bytes, Holder] | None:
    """(contents, holder) of the lock file; None if there is none. A damaged file counts as that of a dead holder."""
    raw = folder.read_if_there(LOCK, MAX_BYTES)
    if raw is None:
        return None
    try:
        return raw, parse_record(raw, Holder, folder.at(LOCK), "a lock")
    except (ValueError, RequestError):
        return raw, Holder(token="", owner="unknown", host="unknown", machine="", pid=0, renewed=0.0)


def _keep(folder: Folder, holder: Holder, made: list[str], over: threading.Event) -> None:
    """Renew the lock until ``over``; then delete it, and the folders that were made for it if they are empty."""
    while not over.wait(_RENEW_SECONDS):
        try:
            if not _is_held(folder, holder):
                sys.stderr.write(f"distgnn: {folder.uri}: another command has taken the lock over; stop one of them\n")
                return
            folder.write(LOCK, replace(holder, renewed=time.time()).to_bytes())
        except (RequestError, WorkError):  # storage does not answer now; the command itself reports it where it writes
            continue
    try:
        if _is_held(folder, holder):
            folder.delete(LOCK)
    except (RequestError, WorkError) as error:
        sys.stderr.write(f"distgnn: {folder.uri}: the lock stays ({error})\n")
    _remove_empty(made)


def _is_held(folder: Folder, holder: Holder) -> bool:
    found = _read(folder)
    return found is not None and found[1].token == holder.token


def _missing_folders(folder: Folder) -> list[str]:
    """Folders that will be made for the lock, innermost first."""
    path, made = folder.path, list[str]()
    while folder.local and path and not os.path.lexists(path):
        made.append(path)
        path = os.path.dirname(path)
    return made


def _remove_empty(made: list[str]) -> None:
    for path in made:
        try:
            os.rmdir(path)
        except OSError:  # it is not empty, or was not made
            return


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name
        return str(os.getuid())

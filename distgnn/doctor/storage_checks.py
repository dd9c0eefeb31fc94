"""Storage, tried out: the very calls that runs make, on a file or two of the doctor's own."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass

from distgnn.corpus.manifest import read_manifest
from distgnn.errors import RequestError, WorkError
from distgnn.storage.folder import open_folder
from distgnn.storage.verified import Kind, publish, read_verified, seal

_PROBE = Kind("probe", "distgnn-probe", 1, ("probe",))
_BYTES = 1 << 20
PREFIX = "distgnn-doctor-"


@dataclass(frozen=True)
class Probed:
    """How a probe went. problem: empty where it went well. seconds: how long. ahead: seconds the storage's clock is ahead of ours.

    found: what was read, such as a digest.
    """

    problem: str = ""
    seconds: float = 0.0
    ahead: float = 0.0
    found: str = ""


def probe_out(uri: str, seen: str = "") -> Probed:
    """Publish a small sealed folder below ``uri`` as checkpoints are, read it, replace a file and delete all of it.

    seen: a folder that someone else has published there; not to see it is a problem.
    """
    folder, name = open_folder(uri), f"{PREFIX}{secrets.token_hex(4)}"
    start, ahead = time.perf_counter(), 0.0
    try:
        if seen:
            read_verified(folder.sub(seen), _PROBE)
        sub = folder.sub(name)
        files = {"probe": os.urandom(_BYTES)}
        now = time.time()
        publish(sub, files, seal(files, _PROBE))
        ahead = sub.filesystem.get_file_info(sub.locate("probe")).mtime_ns / 1e9 - now
        read_verified(sub, _PROBE)
        sub.write("probe", b"other")
        if sub.read("probe") != b"other":
            return Probed("a file that was replaced still has its old content")
        folder.delete_folder(name)
    except (RequestError, WorkError) as error:
        return Probed(str(error))
    return Probed("", time.perf_counter() - start, ahead)


def leave(uri: str) -> str:
    """Publish a probe below ``uri`` for others to see; returns its name. :func:`clear` takes it away."""
    name, files = f"{PREFIX}{secrets.token_hex(4)}", {"probe": b"seen"}
    publish(open_folder(uri).sub(name), files, seal(files, _PROBE))
    return name


def clear(uri: str, name: str) -> None:
    """Delete what :func:`leave` left."""
    open_folder(uri).delete_folder(name)


def probe_corpus(uri: str) -> Probed:
    """Read the manifest of the corpus; found is its digest."""
    start = time.perf_counter()
    try:
        manifest = read_manifest(open_folder(uri))
    except (RequestError, WorkError) as error:
        return Probed(str(error))
    return Probed("", time.perf_counter() - start, found=manifest.digest())

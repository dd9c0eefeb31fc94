"""Storage probes of the doctor command: the calls that runs make, on small temporary files."""

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
_PREFIX = "distgnn-doctor-"


@dataclass(frozen=True)
class Probed:
    """Result of a storage probe.

    Attributes:
        problem: error message; empty on success.
        seconds: duration.
        ahead: seconds by which the storage's clock is ahead of the local one.
        found: what was read, such as a digest.
    """

    problem: str = ""
    seconds: float = 0.0
    ahead: float = 0.0
    found: str = ""


def probe_out(uri: str, seen: str = "") -> Probed:
    """Write a small verified folder below ``uri`` as checkpoints are, read it, replace a file, and delete it.

    Args:
        uri: the output folder.
        seen: name of a folder that another node published there and that must be visible; empty = none.
    """
    folder, name = open_folder(uri), f"{_PREFIX}{secrets.token_hex(4)}"
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


def publish_probe(uri: str) -> str:
    """Publish a probe folder below ``uri`` for other nodes and return its name; see :func:`delete_probe`."""
    name, files = f"{_PREFIX}{secrets.token_hex(4)}", {"probe": b"seen"}
    publish(open_folder(uri).sub(name), files, seal(files, _PROBE))
    return name


def delete_probe(uri: str, name: str) -> None:
    """Delete a folder published by :func:`publish_probe`."""
    open_folder(uri).delete_folder(name)


def probe_corpus(uri: str) -> Probed:
    """Read the manifest of the corpus; ``found`` is its digest."""
    start = time.perf_counter()
    try:
        manifest = read_manifest(open_folder(uri))
    except (RequestError, WorkError) as error:
        return Probed(str(error))
    return Probed("", time.perf_counter() - start, found=manifest.digest())

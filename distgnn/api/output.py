"""Output folders of commands: locked while a command writes, and never overwriting unrelated files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

from distgnn.config import load_config, to_json
from distgnn.config.base import named
from distgnn.corpus import manifest as corpora
from distgnn.errors import RequestError, WorkError
from distgnn.network import manifest as networks
from distgnn.relational import manifest as databases
from distgnn.storage.environment import write_environment
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.lock import locked
from distgnn.storage.records import MAX_BYTES, parse_object
from distgnn.storage.verified import CHECKSUMS

CONFIG = "config.json"
_OUTPUTS = {"table.md", "results.json", "predictions.parquet", "curves.parquet", "jobs", "models", "pictures"}


@contextmanager
def output_folder(uri: str, kind: type[Any]) -> Iterator[Folder]:
    """Context manager that locks the output folder of a command, which holds config.json and its results.

    Args:
        uri: The folder.
        kind: Config class of the command.

    Raises:
        RequestError: Another process writes there, or the folder holds other files.
    """
    folder = open_folder(uri)
    with locked(folder):
        if not check_config(folder, kind):
            refuse_names(folder, _OUTPUTS)
        yield folder


def check_config(folder: Folder, kind: type[Any]) -> bool:
    """Return whether the folder has a config.json; raises RequestError if it is none of ``kind``."""
    raw = folder.read_if_there(CONFIG)
    if raw is None:
        return False
    try:
        load_config(kind, raw, folder.at(CONFIG))
    except RequestError as error:
        raise RequestError(
            f"{folder.at(CONFIG)}: is that of another command, so it is not overwritten; choose another out"
        ) from error
    return True


def write_config(folder: Folder, config: Any, command: str) -> None:
    """Write config.json and environment.json, before the work, so that an unwritable folder fails first."""
    folder.write(CONFIG, (json.dumps(to_json(config), indent=1) + "\n").encode())
    write_environment(folder, command, data_digests(config))


def data_digests(config: Any) -> dict[str, str]:
    """Return the digests of the corpora, networks and stores of databases that a config reads, by URI.

    Other inputs, and what cannot be read, are left out; the command itself refuses the latter.
    """
    given = (attrgetter(name)(config) for name in sorted(named(type(config), "reads")))
    uris = [uri for value in given for uri in ((value,) if isinstance(value, str) else value) if uri]
    found = {uri: _digest(uri) for uri in dict.fromkeys(uris)}
    return {uri: digest for uri, digest in found.items() if digest}


def _digest(uri: str) -> str:
    try:
        folder = open_folder(uri)
        if folder.size(CHECKSUMS) is not None:  # a checkpoint holds the manifest of its corpus
            return ""
        if folder.size(corpora.NAME) is not None:
            return corpora.read_manifest(folder).digest()
        if folder.size(databases.STORE) is not None:
            return databases.read_manifest(folder).key
        raw = folder.read_if_there(networks.NAME)
        return "" if raw is None else hashlib.sha256(raw).hexdigest()
    except (RequestError, WorkError):
        return ""


def refuse_names(folder: Folder, names: set[str]) -> None:
    """Raise RequestError if ``folder`` has one of the files ``names``; called when no distgnn command has written there yet."""
    present = sorted(names & set(folder.names()))
    if present:
        raise RequestError(f"{folder.uri}: the folder holds other things ({present[0]}); choose another folder")


def check_results(folder: Folder, name: str, key: str, others: set[str]) -> None:
    """Check that the JSON file ``name`` of ``folder``, which will be overwritten, was written by the same command.

    Args:
        folder: The folder.
        name: The file.
        key: A field of the file.
        others: Other files that will be overwritten; they may exist only together with ``name``.

    Raises:
        RequestError: The file was not written by the command.
    """
    raw = folder.read_if_there(name, MAX_BYTES)
    if raw is None:
        refuse_names(folder, others)
        return
    try:
        known = key in parse_object(raw, folder.at(name), "a result")
    except (ValueError, TypeError):
        known = False
    if not known:
        raise RequestError(
            f"{folder.at(name)}: is not that of this command, so it is not overwritten; choose another out"
        )

"""Output folders of commands: locked while a command writes, and never overwriting unrelated files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distgnn.config import load_config, to_json
from distgnn.errors import RequestError
from distgnn.storage.environment import write_environment
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.lock import locked
from distgnn.storage.records import MAX_BYTES, parse_object

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
        raw = folder.read_if_there(CONFIG)
        if raw is None:
            refuse_names(folder, _OUTPUTS)
        else:
            _check_config(folder, kind, raw)
        yield folder


def _check_config(folder: Folder, kind: type[Any], raw: bytes) -> None:
    try:
        load_config(kind, raw, folder.at(CONFIG))
    except RequestError as error:
        raise RequestError(
            f"{folder.at(CONFIG)}: is that of another command, so it is not overwritten; choose another out"
        ) from error


def write_config(folder: Folder, config: Any, command: str) -> None:
    """Write config.json and environment.json, before the work, so that an unwritable folder fails first."""
    folder.write(CONFIG, (json.dumps(to_json(config), indent=1) + "\n").encode())
    write_environment(folder, command)


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

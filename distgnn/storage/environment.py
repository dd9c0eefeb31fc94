"""Where a result comes from: the command, versions and hardware, as environment.json beside its config."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import distgnn
from distgnn.storage.folder import Folder
from distgnn.storage.records import Name, convert, parse_object

NAME = "environment.json"
DATA = "data "
"""Beginning of the names of digests of data, before the URI."""
_WHAT = "the facts of a machine"
PACKAGES = ("ray", "torch", "torch-geometric", "pyarrow", "numpy")


def write_environment(folder: Folder, command: str, data: Mapping[str, str] | None = None) -> None:
    """Write environment.json: the command of distgnn, versions of packages, the hardware of this machine, and the data.

    Args:
        folder: The output folder.
        command: The command; empty = it was a function of Python that has no command.
        data: Digests of what was read, by URI.
    """
    digests = {f"{DATA}{uri}": digest for uri, digest in (data or {}).items()}
    folder.write(NAME, (json.dumps(environment(command) | digests, indent=1) + "\n").encode())


def read_data(folder: Folder) -> dict[str, str]:
    """Return the digests of data in environment.json, by URI; empty without the file.

    Raises:
        RequestError: The file is malformed.
    """
    raw = folder.read_if_there(NAME)
    if raw is None:
        return {}
    found = convert(parse_object(raw, folder.at(NAME), _WHAT), dict[Name, Name], folder.at(NAME), _WHAT)
    return {name.removeprefix(DATA): digest for name, digest in found.items() if name.startswith(DATA)}


def environment(command: str) -> dict[str, str]:
    """Return the facts of environment.json as texts by name."""
    return {
        "command": command,
        **versions(),
        "system": platform.platform(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "gpus": ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())) or "none",
    }


def versions() -> dict[str, str]:
    """Return the versions of distgnn, Python and the packages that matter, by name."""
    found = {"distgnn": distgnn.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())

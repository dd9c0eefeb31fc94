"""Where a result comes from: the command, versions and hardware, as environment.json beside its config."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import distgnn
from distgnn.storage.folder import Folder

NAME = "environment.json"
_PACKAGES = ("torch", "torch-geometric", "ray", "numpy", "pyarrow")


def write_environment(folder: Folder, command: str) -> None:
    """Write environment.json: the command of distgnn, versions of packages, and the hardware of this machine."""
    folder.write(NAME, (json.dumps(environment(command), indent=1) + "\n").encode())


def environment(command: str) -> dict[str, str]:
    """Return the facts of environment.json as texts by name."""
    return {
        "command": command,
        "distgnn": distgnn.__version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "system": platform.platform(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "gpus": ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())) or "none",
    }


def versions() -> str:
    """Return the output of ``distgnn --version``: distgnn, Python and the packages that matter, one a line."""
    found = {"distgnn": distgnn.__version__, "python": platform.python_version()}
    return "".join(
        f"{name} {value}\n" for name, value in {**found, **{name: _version(name) for name in _PACKAGES}}.items()
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())

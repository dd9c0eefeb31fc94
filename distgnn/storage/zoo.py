"""Shipped models: ``zoo:NAME`` is the folder models/NAME of a checkout, or of an installed distgnn."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from distgnn.errors import RequestError

SCHEME = "zoo:"


def roots() -> tuple[Path, ...]:
    """Folders that may hold shipped models: beside the package, then where a wheel puts its data files."""
    beside = Path(__file__).resolve().parent.parent.parent / "models"
    return beside, Path(sysconfig.get_path("data")) / "share" / "distgnn" / "models"


def names() -> list[str]:
    """Sorted names of the shipped models."""
    found = {path.parent.name for root in roots() for path in root.glob("*/checksums.json")}
    return sorted(found)


def path_of(uri: str) -> str:
    """Absolute path of the shipped model ``zoo:NAME``.

    Raises:
        RequestError: If there is no such model.
    """
    name = uri.removeprefix(SCHEME)
    known = names()
    if name not in known:
        raise RequestError(
            f"{uri}: there is no such shipped model; known: {', '.join(known) or 'none in this install'}"
        )
    return next(os.fspath(root / name) for root in roots() if (root / name / "checksums.json").is_file())

"""Arrays and JSON values in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from distgnn.storage.folder import Folder
from distgnn.storage.records import parse_record

R = TypeVar("R")
Arrays = dict[str, npt.NDArray[Any]]
_TOLD = "outcome"


def read_arrays(folder: Folder, name: str, kind: type[R]) -> tuple[R, Arrays] | None:
    """Read the file ``name``.

    Args:
        folder: The folder.
        name: The file.
        kind: Type of the record that holds the JSON values.

    Returns:
        (JSON values, arrays by name); None if the file is missing or malformed.
    """
    if folder.size(name) is None:
        return None
    data = folder.read(name)
    try:
        arrays = safetensors.numpy.load(data)
        told = arrays.pop(_TOLD).tobytes()
        return parse_record(told, kind, folder.at(name), "a result"), arrays
    except (SafetensorError, KeyError, ValueError, TypeError):  # a RequestError is a ValueError
        return None


def write_arrays(folder: Folder, name: str, told: dict[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write the file ``name`` atomically.

    Args:
        folder: The folder.
        name: The file.
        told: JSON values.
        arrays: Arrays by name; the name "outcome" is reserved.
    """
    text = np.frombuffer(json.dumps(told).encode(), np.uint8)
    whole = {key: np.asarray(array, order="C") for key, array in arrays.items()}
    folder.write(name, safetensors.numpy.save({**whole, _TOLD: text}))

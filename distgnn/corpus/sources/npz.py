"""NumPy files (.npy, .npz) as inputs: the sizes that their headers declare are compared with the file before memory is taken."""

from __future__ import annotations

import math
import tokenize
import zipfile
from collections.abc import Sequence
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from distgnn.corpus.sources.files import check_members, described, input_errors, largest_size, open_binary
from distgnn.errors import RequestError

Array = npt.NDArray[Any]
ARRAY_ERRORS = (ValueError, TypeError, EOFError, OverflowError, MemoryError, SyntaxError, tokenize.TokenError)
"""Exceptions of NumPy for a damaged .npy file, whose header it parses as Python."""
_MAGIC = b"\x93NUMPY"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def is_npy(uri: str) -> bool:
    """Return whether the file is an .npy array, whatever its name."""
    with input_errors(uri), open_binary(uri) as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_npy(file: IO[bytes], size: int) -> Array:
    """Read a plain .npy array from a seekable stream.

    Args:
        file: The stream, at its start.
        size: The most bytes that it can hold.

    Raises:
        ValueError: It is no such array, or the header declares more values than there are bytes. The other exceptions
            are those of ARRAY_ERRORS.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:  # 3.0 is for names of fields
        raise ValueError(f"format version {version} is not that of a plain array")
    shape, _, dtype = _HEADERS[version](file)
    declared, there = math.prod(shape) * max(dtype.itemsize, 1), size - file.tell()
    if declared > there and not dtype.hasobject:
        raise ValueError(f"the header declares {declared:,} bytes of {dtype} {shape}, the file holds {there:,}")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def load_npy(uri: str) -> Array:
    """Load a plain .npy array.

    Raises:
        RequestError: The file is damaged or requires pickle.
    """
    with input_errors(uri), open_binary(uri) as file:
        try:
            return read_npy(file, largest_size(uri))
        except ARRAY_ERRORS as error:
            raise RequestError(f"{uri}: not a plain .npy array ({_line(error)}); download it again") from error


def npz_names(uri: str) -> tuple[str, ...]:
    """Return the names of the arrays of an .npz file; raises RequestError if it is none."""
    if is_npy(uri):
        raise RequestError(f"{uri}: holds a single array; an .npz is needed")
    with input_errors(uri), open_binary(uri) as file, zipfile.ZipFile(file) as archive:
        check_members(uri, archive, described([uri])[0]["bytes"])
        return tuple(name.removesuffix(".npy") for name in archive.namelist())


def load_npz(uri: str, wanted: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Array]:
    """Load arrays of an .npz file by name.

    Args:
        uri: The file.
        wanted: Names of required arrays.
        optional: Names of arrays to load if present.

    Raises:
        RequestError: A required array is missing, or the file is not an .npz of plain arrays.
    """
    if is_npy(uri):
        raise RequestError(f"{uri}: holds a single array; an .npz with {', '.join(wanted)} is needed")
    with input_errors(uri), open_binary(uri) as file, zipfile.ZipFile(file) as archive:
        check_members(uri, archive, described([uri])[0]["bytes"])
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        missing = [name for name in wanted if name not in members]
        if missing:
            raise RequestError(
                f"{uri}: the array {missing[0]!r} is missing; found {', '.join(members)[:1000] or 'none'}"
            )
        return {name: _member(uri, archive, name, members[name]) for name in (*wanted, *optional) if name in members}


def _member(uri: str, archive: zipfile.ZipFile, name: str, stored: str) -> Array:
    try:
        with archive.open(stored) as file:
            return read_npy(cast(IO[bytes], file), archive.getinfo(stored).file_size)
    except ARRAY_ERRORS as error:
        raise RequestError(f"{uri}, {name}: not a plain array ({_line(error)}); download it again") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())

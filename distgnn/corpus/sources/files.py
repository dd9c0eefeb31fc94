"""Input files of sources: local or remote, decompressed on the fly, with damage reported as RequestError."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distgnn.errors import RequestError
from distgnn.storage.folder import Folder, open_folder, storage_errors
from distgnn.storage.uri import base_name, parent

Array = npt.NDArray[Any]
ARRAY_ERRORS = (ValueError, EOFError, OverflowError, MemoryError, SyntaxError, tokenize.TokenError)
"""Exceptions of NumPy for a damaged .npy file, whose header it parses as Python."""
_AHEAD_BYTES = 8 << 20  # each read of a remote object is a request
_DAMAGED = (
    EOFError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    UnicodeDecodeError,
    pa.ArrowInvalid,
)


def _locate(uri: str) -> tuple[Folder, str]:
    folder, name = parent(uri)
    return open_folder(folder), name


def described(uris: Sequence[str]) -> list[dict[str, Any]]:
    """Return name and bytes of each file, for provenance.

    Raises:
        RequestError: a file does not exist.
    """
    result = []
    for uri in uris:
        folder, name = _locate(uri)
        size = folder.size(name)
        if size is None:
            raise RequestError(f"{uri}: no such input file; check the path")
        result.append({"name": name, "bytes": size})
    return result


@contextmanager
def input_errors(uri: str) -> Iterator[None]:
    """Convert the exceptions of a damaged or missing input to a RequestError that names it."""
    with storage_errors("read", uri):
        try:
            yield
        except _DAMAGED as error:
            raise RequestError(
                f"{uri}: damaged, or not in the format of its extension ({error}); download it again"
            ) from error


def open_binary(uri: str) -> IO[bytes]:
    """Open a binary stream of the decompressed file; use it within :func:`input_errors`."""
    folder, name = _locate(uri)
    ahead = io.DEFAULT_BUFFER_SIZE if folder.local else _AHEAD_BYTES
    raw = io.BufferedReader(cast(Any, folder.open(name)), ahead)
    if name.endswith(".gz"):
        return cast(IO[bytes], gzip.open(raw))
    if name.endswith(".xz"):
        return cast(IO[bytes], lzma.open(raw))
    return cast(IO[bytes], raw)


def open_text(uri: str) -> io.TextIOWrapper:
    """Open a UTF-8 text stream of the decompressed file that preserves line ends, as the csv module requires."""
    return io.TextIOWrapper(cast(Any, open_binary(uri)), encoding="utf-8-sig", newline="")


def load_npz(uri: str, wanted: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Array]:
    """Load arrays of an .npz file by name.

    Args:
        uri: the file.
        wanted: names of required arrays.
        optional: names of arrays to load if present.

    Raises:
        RequestError: a required array is missing, or the file is not an .npz of plain arrays.
    """
    with input_errors(uri), open_binary(uri) as file:
        try:
            data = np.load(file, allow_pickle=False)
            if not isinstance(data, np.lib.npyio.NpzFile):
                raise RequestError(f"{uri}: holds a single array; an .npz with {', '.join(wanted)} is needed")
            missing = [name for name in wanted if name not in data.files]
            if missing:
                found = ", ".join(data.files) or "none"
                raise RequestError(f"{uri}: the array {missing[0]!r} is missing; found {found}")
            return {name: data[name] for name in (*wanted, *optional) if name in data.files}
        except ARRAY_ERRORS as error:
            raise RequestError(f"{uri}: not a readable .npz of plain arrays ({error})") from error


def suffix_free(uri: str) -> str:
    """Return the lower-case extension before any .gz or .xz, such as '.csv'."""
    name = base_name(uri)
    stem, extension = os.path.splitext(name)
    return (os.path.splitext(stem)[1] if extension in (".gz", ".xz") else extension).lower()

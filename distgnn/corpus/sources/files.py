"""Input files of builders: paths or URIs, unpacked while they are read, with every way they can be damaged told in one line."""

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
"""What numpy raises for a damaged .npy file, whose header it reads as Python text."""
_AHEAD_BYTES = 8 << 20  # each read of an object is a request
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
    """Name and bytes of each file, for provenance; raises RequestError for one that does not exist."""
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
    """Turn what a damaged or missing input raises into a RequestError that names it."""
    with storage_errors("read", uri):
        try:
            yield
        except _DAMAGED as error:
            raise RequestError(f"{uri}: damaged or not what its name says ({error}); fetch it again") from error


def open_binary(uri: str) -> IO[bytes]:
    """A binary stream of the unpacked file; use it within :func:`input_errors`."""
    folder, name = _locate(uri)
    ahead = io.DEFAULT_BUFFER_SIZE if folder.local else _AHEAD_BYTES
    raw = io.BufferedReader(cast(Any, folder.open(name)), ahead)
    if name.endswith(".gz"):
        return cast(IO[bytes], gzip.open(raw))
    if name.endswith(".xz"):
        return cast(IO[bytes], lzma.open(raw))
    return cast(IO[bytes], raw)


def open_text(uri: str) -> io.TextIOWrapper:
    """A UTF-8 text stream of the unpacked file that leaves line ends alone, as the csv module wants."""
    return io.TextIOWrapper(cast(Any, open_binary(uri)), encoding="utf-8-sig", newline="")


def load_npz(uri: str, wanted: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Array]:
    """Arrays of an .npz file by name; raises RequestError where a wanted one is absent or the file is no plain .npz."""
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
    """The lower-case extension before any .gz or .xz, such as '.csv'."""
    name = base_name(uri)
    stem, extension = os.path.splitext(name)
    return (os.path.splitext(stem)[1] if extension in (".gz", ".xz") else extension).lower()

"""Input files of sources: local or remote, decompressed on the fly, with damage reported as RequestError."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
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
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
"""Extensions of files that are decompressed while they are read."""


def _locate(uri: str) -> tuple[Folder, str]:
    folder, name = parent(uri)
    return open_folder(folder), name


def _check_regular(folder: Folder, name: str) -> None:
    """Refuse local devices and named pipes, which can block or never end."""
    path = folder.locate(name)
    if folder.local and os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        kind = "a folder" if os.path.isdir(path) else "a device or named pipe"
        raise RequestError(f"{folder.at(name)}: is {kind}, not a regular file; give a file")


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
            _check_regular(folder, name)
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
        except OSError as error:
            if error.errno is None and base_name(uri).endswith((".bz2", ".zst")):  # their decompressors say it so
                raise RequestError(f"{uri}: damaged, or not in the format of its extension ({error})") from error
            raise


def open_binary(uri: str) -> IO[bytes]:
    """Open a binary stream of the decompressed file; use it within :func:`input_errors`."""
    folder, name = _locate(uri)
    _check_regular(folder, name)
    ahead = io.DEFAULT_BUFFER_SIZE if folder.local else _AHEAD_BYTES
    raw = io.BufferedReader(cast(Any, folder.open(name)), ahead)
    extension = os.path.splitext(name)[1]
    if extension == ".zip":
        return _only_member(uri, cast(IO[bytes], raw))
    if extension == ".zst":
        return cast(IO[bytes], io.BufferedReader(cast(Any, pa.CompressedInputStream(raw, "zstd"))))
    library = {".gz": gzip, ".bz2": bz2, ".xz": lzma}.get(extension)
    return cast(IO[bytes], library.open(raw) if library else raw)


def _only_member(uri: str, file: IO[bytes]) -> IO[bytes]:
    """Open the only file of a zip archive."""
    archive = zipfile.ZipFile(file)
    names = [item.filename for item in archive.infolist() if not item.is_dir()]
    if len(names) != 1:
        raise RequestError(f"{uri}: the archive holds {len(names)} files; one is needed, so unpack it")
    try:
        return archive.open(names[0])
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown compression
        raise RequestError(f"{uri}: cannot be unpacked ({error}); unpack it with another program") from error


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
        except (*ARRAY_ERRORS, RuntimeError) as error:  # RuntimeError: an encrypted member
            raise RequestError(f"{uri}: not a readable .npz of plain arrays ({error})") from error


def suffix_free(uri: str) -> str:
    """Return the lower-case extension before that of a compression, such as '.csv'."""
    stem, extension = os.path.splitext(base_name(uri))
    return (os.path.splitext(stem)[1] if extension in COMPRESSED else extension).lower()

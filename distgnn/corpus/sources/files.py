"""Input files of sources: local or remote, decompressed on the fly, with damage reported as RequestError."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
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
_UNPACKED_BYTES, _UNPACKED_TIMES = 256 << 20, 250
_HEAD, _LINE_LENGTH = 4096, 1 << 20
_UNPACK: dict[str, Callable[[Any], IO[bytes]]] = {
    ".gz": lambda raw: cast(IO[bytes], gzip.GzipFile(fileobj=raw)),
    ".bz2": lambda raw: cast(IO[bytes], bz2.BZ2File(raw)),
    ".xz": lambda raw: cast(IO[bytes], lzma.LZMAFile(raw)),  # noqa: SIM115 - closed with the stream
    ".zst": lambda raw: cast(IO[bytes], pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")),
}
_MARKS = (  # of UTF-32 first: the mark of UTF-16 starts it
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PACKED = {
    b"\x1f\x8b": (".gz", "packed by gzip; name it .gz"),
    b"BZh": (".bz2", "packed by bzip2; name it .bz2"),
    b"\xfd7zXZ": (".xz", "packed by xz; name it .xz"),
    b"\x28\xb5\x2f\xfd": (".zst", "packed by zstd; name it .zst"),
    b"PK\x03\x04": (".zip", "a zip archive or an Excel workbook; name it .zip, or save it as CSV"),
    b"PAR1": (".parquet", "a Parquet file; name it .parquet"),
}


class DamagedError(ValueError):
    """A compressed stream does not decode."""


_DAMAGED = (
    DamagedError,
    EOFError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    UnicodeError,
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


class _Bounded(io.RawIOBase):
    """A decompressed stream that ends with an error beyond ``limit`` bytes."""

    def __init__(self, file: IO[bytes], limit: int, uri: str) -> None:
        self._file, self._limit, self._uri = file, limit, uri
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = self._file.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except OSError as error:  # bz2 and zstd; errors of the system have a number
            if error.errno is not None:
                raise
            raise DamagedError(str(error)) from error
        self._position += len(data)
        if self._position > self._limit:
            raise RequestError(
                f"{self._uri}: unpacks to more than {self._limit:,} bytes; unpack it yourself if it should"
            )
        buffer[: len(data)] = data
        return len(data)


def unpacked_limit(packed: int) -> int:
    """Return how many bytes a compressed file of ``packed`` bytes may unpack to."""
    return max(_UNPACKED_BYTES, _UNPACKED_TIMES * packed)


def open_binary(uri: str, member: bool = False) -> IO[bytes]:
    """Open a binary stream of the decompressed file; use it within :func:`input_errors`.

    .gz, .bz2, .xz and .zst files are unpacked, up to :func:`unpacked_limit` bytes.

    Args:
        uri: The file.
        member: Open the only file in a .zip, too, see :func:`zip_member`.
    """
    folder, name = _locate(uri)
    ahead = io.DEFAULT_BUFFER_SIZE if folder.local else _AHEAD_BYTES
    native = folder.open(name)
    raw = io.BufferedReader(cast(Any, native), ahead)
    packing = os.path.splitext(name)[1].lower()
    if packing == ".zip" and member:
        file = _open_member(uri, raw)
    elif packing in _UNPACK:
        file = _UNPACK[packing](raw)
    else:
        return cast(IO[bytes], raw)
    return cast(IO[bytes], io.BufferedReader(_Bounded(file, unpacked_limit(native.size()), uri)))


def _open_member(uri: str, raw: IO[bytes]) -> IO[bytes]:
    archive = zipfile.ZipFile(raw)
    try:
        return archive.open(_only_member(uri, archive))
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown method
        raise RequestError(f"{uri}: {error}; unpack it yourself") from error


def _only_member(uri: str, archive: zipfile.ZipFile) -> str:
    names = data_members(archive)
    if len(names) != 1:
        found = ", ".join(names[:5]) or "none"
        raise RequestError(f"{uri}: must hold one file, found {len(names)} ({found}); unpack it and name the files")
    return names[0]


def data_members(archive: zipfile.ZipFile) -> list[str]:
    """Return the names of the files in a zip, without what macOS adds (__MACOSX, ._*)."""
    return [
        name
        for name in archive.namelist()
        if not name.endswith("/") and not name.startswith("__MACOSX/") and not base_name(name).startswith("._")
    ]


def plain_name(uri: str) -> str:
    """Return the lower-case name of a file without .gz, .bz2, .xz or .zst; of a .zip, the name of its only file."""
    name = base_name(uri).lower()
    stem, extension = os.path.splitext(name)
    if extension == ".zip":
        folder, stored = _locate(uri)
        with (
            input_errors(uri),
            zipfile.ZipFile(cast(Any, io.BufferedReader(cast(Any, folder.open(stored))))) as archive,
        ):
            return base_name(_only_member(uri, archive)).lower()
    return stem if extension in _UNPACK else name


def packing(head: bytes) -> tuple[str, str]:
    """Return the extension of a compressed or Parquet file that starts with ``head``, and what it is; "" for others."""
    return next((found for mark, found in _PACKED.items() if head.startswith(mark)), ("", ""))


def open_text(uri: str, encoding: str = "", errors: str = "strict") -> io.TextIOWrapper:
    """Open a text stream of the decompressed file that preserves line ends, as the csv module requires.

    Args:
        uri: The file.
        encoding: Its encoding; "" = UTF-8. A byte order mark (of UTF-8, UTF-16 or UTF-32) takes precedence.
        errors: As in :func:`open`.
    """
    file = io.BufferedReader(cast(Any, open_binary(uri, member=True)))
    head = file.peek(_HEAD)[:_HEAD]
    _, packed = packing(head)
    if packed:
        raise RequestError(f"{uri}: not text, but {packed}")
    found = next((name for mark, name in _MARKS if head.startswith(mark)), encoding or "utf-8")
    if b"\0" in head and found.lower().startswith(("utf-8", "latin", "iso-8859", "cp", "ascii")):
        raise RequestError(
            f"{uri}: not text (it holds zero bytes); for UTF-16 without a byte order mark set encoding=utf-16-le"
        )
    return io.TextIOWrapper(cast(Any, file), encoding=found, errors=errors, newline="")


def text_lines(uri: str, encoding: str = "") -> Iterator[str]:
    """Iterate over the lines of a text file, with their line ends; use it within :func:`input_errors`.

    Raises:
        RequestError: A line is not in the encoding, or longer than a megabyte; the message names it.
    """
    number = 0
    with open_text(uri, encoding, "surrogateescape") as text:
        while line := text.readline(_LINE_LENGTH):
            number += 1
            if len(line) == _LINE_LENGTH:
                raise RequestError(
                    f"{uri}, line {number}: longer than {_LINE_LENGTH:,} characters; not a table of rows"
                )
            if not line.isascii() and any("\ud800" <= c <= "\udfff" for c in line):
                name = text.encoding.upper()
                hint = "set encoding, such as latin-1, or save the file as UTF-8"
                raise RequestError(f"{uri}, line {number}: not {name}; {hint}")
            yield line


def check_encoding(name: str) -> None:
    """Raise RequestError unless ``name`` is a text encoding of Python."""
    try:
        "".encode(name)
    except (LookupError, ValueError) as error:
        raise RequestError(f"encoding={name!r}: unknown; such as utf-8, utf-16-le or latin-1") from error


def _check_members(uri: str, data: np.lib.npyio.NpzFile) -> None:
    members = data.zip.infolist() if data.zip is not None else []
    unpacked, packed = (sum(getattr(member, name) for member in members) for name in ("file_size", "compress_size"))
    if unpacked > unpacked_limit(packed):
        raise RequestError(f"{uri}: unpacks to {unpacked:,} bytes from {packed:,}; not a data set")


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
            _check_members(uri, data)
            return {name: data[name] for name in (*wanted, *optional) if name in data.files}
        except RequestError:
            raise
        except ARRAY_ERRORS as error:
            raise RequestError(f"{uri}: not a readable .npz of plain arrays ({error})") from error

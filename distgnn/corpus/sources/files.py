"""Input files of sources: local or remote, decompressed on the fly, with damage reported as RequestError."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import secrets
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import IO, Any, Concatenate, ParamSpec, TypeVar, cast

import pyarrow as pa

from distgnn.errors import RequestError
from distgnn.storage.folder import Folder, open_folder, storage_errors
from distgnn.storage.uri import base_name, parent

_AHEAD_BYTES = 8 << 20  # each read of a remote object is a request
_UNPACKED_BYTES, _UNPACKED_TIMES = 256 << 20, 250
_HEAD, _LINE_LENGTH = 4096, 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_NOT_PLAIN = 0x61  # flags of a zip's member: encrypted, a patch, strongly encrypted
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

P = ParamSpec("P")
T = TypeVar("T")


class DamagedError(ValueError):
    """A compressed stream does not decode."""


_DAMAGED = (
    DamagedError,
    EOFError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    NotImplementedError,  # of zipfile, for versions of the format that it does not know
    UnicodeError,
    pa.ArrowInvalid,
)


def _locate(uri: str) -> tuple[Folder, str]:
    folder, name = parent(uri)
    return open_folder(folder), name


def new_reading() -> str:
    """Return the key of one reading of the inputs, for :func:`cached_reads`."""
    return secrets.token_hex(8)


def cached_reads(count: int) -> Callable[[Callable[P, T]], Callable[Concatenate[str, P], T]]:
    """Decorator that caches the last ``count`` results of a function that reads inputs.

    The function gets a first argument, the key of :func:`new_reading`, since files may change between two builds in one process.
    """

    def decorate(read: Callable[P, T]) -> Callable[Concatenate[str, P], T]:
        @lru_cache(count)
        def found(_: str, *args: P.args, **kwargs: P.kwargs) -> T:
            return read(*args, **kwargs)

        return cast(Any, wraps(read)(found))

    return decorate


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
            said = (
                "is a folder; give its files"
                if folder.local and os.path.isdir(folder.locate(name))
                else "no such input file; check the path"
            )
            raise RequestError(f"{uri}: {said}")
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
            raise _too_large(self._uri, self._limit)
        buffer[: len(data)] = data
        return len(data)


def _too_large(uri: str, limit: int) -> RequestError:
    return RequestError(f"{uri}: unpacks to more than {limit:,} bytes; unpack it yourself if it should")


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
        file = _open_member(uri, raw, native.size())
    elif packing in _UNPACK:
        file = _UNPACK[packing](raw)
    else:
        return cast(IO[bytes], raw)
    return cast(IO[bytes], io.BufferedReader(_Bounded(file, unpacked_limit(native.size()), uri)))


def largest_size(uri: str) -> int:
    """Return how many bytes the stream of :func:`open_binary` can hold; use it within :func:`input_errors`."""
    size = described([uri])[0]["bytes"]
    return unpacked_limit(size) if os.path.splitext(uri)[1].lower() in _UNPACK else size


def _open_member(uri: str, raw: IO[bytes], packed: int) -> IO[bytes]:
    archive = zipfile.ZipFile(raw)
    check_members(uri, archive, packed)
    return archive.open(_only_member(uri, archive))


def check_members(uri: str, archive: zipfile.ZipFile, packed: int) -> None:
    """Check that the files of a zip can be unpacked in bounded memory.

    Args:
        uri: The zip, for the message.
        archive: The zip.
        packed: Its size; the sizes in its directory are those that its author wrote there.

    Raises:
        RequestError: They unpack to more than :func:`unpacked_limit` bytes, are encrypted, or are packed by bzip2 or LZMA,
            which zipfile unpacks without a bound.
    """
    members = archive.infolist()
    for member in members:
        if member.flag_bits & _NOT_PLAIN or member.compress_type not in _METHODS:
            raise RequestError(f"{uri}, {member.filename}: encrypted, or not packed by deflate; unpack it yourself")
    if sum(member.file_size for member in members) > unpacked_limit(packed):
        raise _too_large(uri, unpacked_limit(packed))


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

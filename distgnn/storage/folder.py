"""Folders by URI: paths, file:// and s3:// through pyarrow.fs; file names cannot leave their folder."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

import pyarrow as pa
from pyarrow import fs as pafs

from distgnn.errors import RequestError, WorkError
from distgnn.storage.retry import note_error
from distgnn.storage.s3 import S3Files
from distgnn.storage.temporary import temporary_tail
from distgnn.storage.uri import join, local_path, s3_place, text_of

_UNUSABLE = (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)


@contextmanager
def storage_errors(action: str, uri: str) -> Iterator[None]:
    """Context manager that converts file system exceptions to one-line errors.

    Args:
        action: Verb for the message, such as "read".
        uri: The file or folder.

    Raises:
        RequestError: If the path is missing, not permitted or not usable.
        WorkError: If storage fails otherwise.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise RequestError(f"cannot {action} {uri}: it does not exist") from error
    except _UNUSABLE as error:
        raise RequestError(
            f"cannot {action} {uri}: {error.strerror or 'not permitted'}; choose another place"
        ) from error
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None) in (errno.EROFS, errno.EACCES):
            raise RequestError(
                f"cannot {action} {uri}: {os.strerror(error.errno or 0)}; choose another place"
            ) from error
        raise WorkError(f"cannot {action} {uri}: {' '.join(str(error).split())}") from error


@dataclass(frozen=True)
class Folder:
    """A folder on a file system. File names are relative, '/'-separated, and stay inside the folder.

    Attributes:
        filesystem: The pyarrow file system.
        path: Path on the file system.
        uri: Its s3:// URI, or its absolute path; for messages and configs.
    """

    filesystem: pafs.FileSystem
    path: str
    uri: str

    def __repr__(self) -> str:
        return f"Folder({self.uri!r})"

    @property
    def local(self) -> bool:
        """Whether the folder is on this machine's file system."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def at(self, name: str) -> str:
        """URI of the file ``name``, for messages or to open it elsewhere."""
        return join(self.uri, name)

    def locate(self, name: str) -> str:
        """Path of ``name`` on the file system.

        Raises:
            RequestError: If the name is absolute, contains ``..`` or is not printable.
        """
        pure = PurePosixPath(name)
        # "?" starts the options of a URI.
        unprintable = next((letter for letter in name if not letter.isprintable()), None)
        if unprintable is not None:
            raise RequestError(
                f"{self.uri}: the name {name!r} has the character {unprintable!r}, which does not print; rename it"
            )
        odd = "\\" in name or ("?" in name and not self.local)
        if not pure.parts or pure.is_absolute() or ".." in pure.parts or odd:
            raise RequestError(f"{self.uri}: the name {name!r} does not stay inside its folder; refusing it")
        return f"{self.path}/{pure}"

    def sub(self, name: str) -> Folder:
        """The subfolder ``name``, which need not exist."""
        return Folder(self.filesystem, self.locate(name), self.at(name))

    def size(self, name: str) -> int | None:
        """Size of the file ``name`` in bytes; None if there is no such file."""
        with storage_errors("look at", self.at(name)):
            info = self.filesystem.get_file_info(self.locate(name))
        return info.size if info.type == pafs.FileType.File else None

    def names(self) -> list[str]:
        """Sorted names of the files and folders directly inside; empty if the folder does not exist."""
        with storage_errors("list", self.uri):
            if self.local:  # Arrow refuses folders that hold a name that is not UTF-8
                return sorted(os.listdir(self.path)) if os.path.lexists(self.path) else []
            entries = self.filesystem.get_file_info(pafs.FileSelector(self.path, allow_not_found=True))
        return sorted(entry.base_name for entry in entries)

    def files(self) -> list[str]:
        """Sorted relative names of all files at any depth."""
        if self.local:
            found = (os.path.join(place, name) for place, _, names in os.walk(self.path) for name in names)
            return sorted(os.path.relpath(path, self.path) for path in found if os.path.isfile(path))
        selector = pafs.FileSelector(self.path, allow_not_found=True, recursive=True)
        with storage_errors("list", self.uri):
            entries = self.filesystem.get_file_info(selector)
        start = len(self.path.rstrip("/")) + 1
        return sorted(entry.path[start:] for entry in entries if entry.type == pafs.FileType.File)

    def read(self, name: str, limit: int = 0) -> bytes:
        """Contents of the file ``name``; raises RequestError if it has more than ``limit`` bytes (0 = no limit)."""
        with storage_errors("read", self.at(name)):
            return self._contents(name, limit)

    def read_if_there(self, name: str, limit: int = 0) -> bytes | None:
        """Like :meth:`read`, but None if there is no such file. One request."""
        with storage_errors("read", self.at(name)):
            try:
                return self._contents(name, limit)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def _contents(self, name: str, limit: int) -> bytes:
        self._check_regular(name)
        with self.filesystem.open_input_stream(self.locate(name), compression=None) as stream:
            data = stream.read(limit + 1) if limit else stream.read()
        if limit and len(data) > limit:
            raise RequestError(f"{self.at(name)}: has more than {limit} bytes, too large for such a file; restore it")
        return data

    def _check_regular(self, name: str) -> None:
        """Refuse FIFOs, devices and sockets, which would block or never end. Nothing is read."""
        if not self.local:
            return
        file = os.open(self.locate(name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(file).st_mode
        finally:
            os.close(file)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise RequestError(f"{self.at(name)}: not a regular file (a FIFO or a device); refusing it")

    def read_checked(self, name: str, sha256: str) -> bytes | None:
        """Contents of the file ``name`` if its sha256 matches, else None. On a mismatch, a remote file is downloaded once more."""
        for _ in range(1 if self.local else 2):
            data = self.read(name)
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
            if not self.local:
                note_error("damaged")
        return None

    def open(self, name: str) -> pa.NativeFile:
        """Open the file ``name`` for random access."""
        with storage_errors("read", self.at(name)):
            self._check_regular(name)
            return self.filesystem.open_input_file(self.locate(name))

    def open_if_there(self, name: str) -> pa.NativeFile | None:
        """Open the file ``name`` for random access; None if there is no such file."""
        with storage_errors("read", self.at(name)):
            try:
                self._check_regular(name)
                return self.filesystem.open_input_file(self.locate(name))
            except FileNotFoundError:
                return None

    def open_sized(self, name: str, size: int, tail: int) -> tuple[pa.NativeFile, str] | None:
        """Like :meth:`open_if_there` for a file that should have ``size`` bytes; on S3, its last ``tail`` come in one request.

        Returns:
            The file and its version for :meth:`open_version`, "" where storage has no versions; None if there is no such file.
        """
        handler = getattr(self.filesystem, "handler", None)
        if not isinstance(handler, S3Files):
            file = self.open_if_there(name)
            return None if file is None else (file, "")
        with storage_errors("read", self.at(name)):
            try:
                return handler.open_sized(self.locate(name), size, tail)
            except FileNotFoundError:
                return None

    def open_version(self, name: str, size: int, version: str) -> pa.NativeFile | None:
        """Open the version of a file that :meth:`open_sized` has returned, on S3 without a request; reads of another one fail."""
        if not version:
            return self.open_if_there(name)
        return _objects(self.filesystem).open_version(self.locate(name), size, version)

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write the file ``name`` atomically: by rename on a local file system, as one object elsewhere."""
        path = self.locate(name)
        with storage_errors("write", self.at(name)):
            if not self.local:
                with self.filesystem.open_output_stream(path, compression=None) as stream:
                    stream.write(data)
                return
            os.makedirs(os.path.dirname(path), exist_ok=True)
            temporary = f"{path}{temporary_tail()}"
            try:
                with open(temporary, "xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            finally:
                Path(temporary).unlink(missing_ok=True)

    def write_new(self, name: str, data: bytes) -> bool:
        """Write the file ``name`` unless it exists; returns whether it was written. Of several writers one succeeds."""
        path = self.locate(name)
        with storage_errors("write", self.at(name)):
            if not self.local:
                return _objects(self.filesystem).put_if(path, data, etag="")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            return write_new_local(path, data)

    def replace(self, name: str, old: bytes, new: bytes) -> bool:
        """Replace the file ``name`` if its contents are ``old``; returns whether they were. Of several writers one succeeds."""
        path = self.locate(name)
        with storage_errors("write", self.at(name)):
            if not self.local:
                files = _objects(self.filesystem)
                etag = files.etag_of(path, old)
                return etag is not None and files.put_if(path, new, etag)
            return replace_local(path, old, new)

    def delete(self, name: str) -> None:
        """Delete the file ``name``."""
        with storage_errors("delete", self.at(name)):
            self.filesystem.delete_file(self.locate(name))

    def delete_folder(self, name: str) -> None:
        """Delete the folder ``name`` recursively.

        A local folder is renamed first, so it disappears atomically. Symbolic links are removed, not followed.
        """
        path = self.locate(name)
        with storage_errors("delete", self.at(name)):
            if self.local:
                gone = f"{path}{temporary_tail()}"
                os.rename(path, gone)
                path = gone
            self.filesystem.delete_dir(path)


def _objects(filesystem: pafs.FileSystem) -> S3Files:
    return filesystem.handler  # pyright: ignore[reportAttributeAccessIssue]


def write_new_local(path: str, data: bytes) -> bool:
    """Write a file unless it exists. It is never seen without its contents."""
    temporary = f"{path}{temporary_tail()}"
    try:
        Path(temporary).write_bytes(data)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        Path(temporary).unlink(missing_ok=True)
    return True


def replace_local(path: str, old: bytes, new: bytes) -> bool:
    """Replace a file if its contents are ``old``. Other processes that replace it wait."""
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        same = os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(file.fileno()))
        if not same or file.read() != old:
            return False
        temporary = f"{path}{temporary_tail()}"
        try:
            Path(temporary).write_bytes(new)
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    return True


def absence(folder: Folder) -> str:
    """Return, for messages, that a local folder does not exist, with the name most like it; "" if it exists or is remote."""
    if not folder.local or os.path.lexists(folder.path):
        return ""
    place, name = os.path.split(folder.path)
    close = get_close_matches(name, os.listdir(place) if os.path.isdir(place) else [], 1)
    hint = f"; did you mean {os.path.join(place, close[0])}?" if close else ""
    return f" (there is no such folder{hint})"


def open_folder(uri: str | os.PathLike[str]) -> Folder:
    """Open the folder at ``uri``: a path, file:///... or s3://bucket/prefix?option=... (see :mod:`distgnn.storage.uri`).

    Raises:
        RequestError: If the URI is of another kind, malformed, or contains credentials.
    """
    uri = text_of(uri)
    if not uri:
        raise RequestError("an empty path was given where a folder is needed")
    path = local_path(uri)
    if path is not None:
        return Folder(pafs.LocalFileSystem(), path, path)
    place = s3_place(uri)
    return Folder(pafs.PyFileSystem(S3Files(place.options)), place.path, place.uri)

"""Folders by URI: paths, file:// and s3:// through pyarrow.fs; file names cannot leave their folder."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
from pyarrow import fs as pafs

from distgnn.errors import RequestError, WorkError
from distgnn.storage.retry import note_error
from distgnn.storage.s3 import S3Files
from distgnn.storage.uri import join, refuse_secrets, s3_place

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
        uri: Path or URI, for messages and configs.
    """

    filesystem: pafs.FileSystem
    path: str
    uri: str

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
        odd = "\\" in name or not name.isprintable() or ("?" in name and not self.local)
        if not name or pure.is_absolute() or ".." in pure.parts or odd:
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
            entries = self.filesystem.get_file_info(pafs.FileSelector(self.path, allow_not_found=True))
        return sorted(entry.base_name for entry in entries)

    def files(self) -> list[str]:
        """Sorted relative names of all files at any depth."""
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

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write the file ``name`` atomically: by rename on a local file system, as one object elsewhere."""
        path = self.locate(name)
        with storage_errors("write", self.at(name)):
            if not self.local:
                with self.filesystem.open_output_stream(path, compression=None) as stream:
                    stream.write(data)
                return
            os.makedirs(os.path.dirname(path), exist_ok=True)
            temporary = f"{path}.tmp-{uuid.uuid4().hex[:8]}"
            try:
                with open(temporary, "xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except OSError:
                Path(temporary).unlink(missing_ok=True)
                raise

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
                gone = f"{path}.gone-{uuid.uuid4().hex[:8]}"
                os.rename(path, gone)
                path = gone
            self.filesystem.delete_dir(path)


def open_folder(uri: str) -> Folder:
    """Open the folder at ``uri``: a path, file:///... or s3://bucket/prefix?option=... (see :mod:`distgnn.storage.uri`).

    Raises:
        RequestError: If the URI is of another kind, malformed, or contains credentials.
    """
    if not uri:
        raise RequestError("an empty path was given where a folder is needed")
    if "://" not in uri:
        path = os.path.abspath(os.path.expanduser(uri))
        return Folder(pafs.LocalFileSystem(), path, path)
    if uri.startswith("s3://"):
        place = s3_place(uri)
        return Folder(pafs.PyFileSystem(S3Files(place.options)), place.path, place.uri)
    refuse_secrets(uri)
    with storage_errors("open", uri):
        try:
            filesystem, path = pafs.FileSystem.from_uri(uri)
        except pa.ArrowInvalid as error:
            raise RequestError(f"{uri}: not a path, file:// or s3:// URI ({error})") from error
    return Folder(filesystem, path.rstrip("/"), uri.rstrip("/"))

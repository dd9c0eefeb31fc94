"""Folders by URI: plain paths, file:// and s3:// through pyarrow.fs, with names that cannot leave their folder.

S3 is our own file system of pyarrow (distgnn.storage.s3): it tries again while storage fails, and lists only where asked to.
"""

from __future__ import annotations

import errno
import hashlib
import os
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
    """Turn file system exceptions into one line: RequestError for what the user named wrongly, WorkError for failing storage."""
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
    """A folder on some file system. Names given to its methods are relative, '/'-separated, and stay inside it."""

    filesystem: pafs.FileSystem
    path: str
    uri: str

    @property
    def local(self) -> bool:
        """Whether it lies on this machine's file system."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def at(self, name: str) -> str:
        """The URI of ``name`` in this folder, for messages and for opening it elsewhere."""
        return join(self.uri, name)

    def locate(self, name: str) -> str:
        """The file system's path of ``name``; raises RequestError for names that are absolute, climb out or are unprintable."""
        pure = PurePosixPath(name)
        odd = "\\" in name or not name.isprintable() or ("?" in name and not self.local)  # a URI's options start at "?"
        if not name or pure.is_absolute() or ".." in pure.parts or odd:
            raise RequestError(f"{self.uri}: the name {name!r} does not stay inside its folder; refusing it")
        return f"{self.path}/{pure}"

    def sub(self, name: str) -> Folder:
        """The folder ``name`` below this one (it need not exist)."""
        return Folder(self.filesystem, self.locate(name), self.at(name))

    def size(self, name: str) -> int | None:
        """Bytes of the file ``name``, or None where there is no such file."""
        with storage_errors("look at", self.at(name)):
            info = self.filesystem.get_file_info(self.locate(name))
        return info.size if info.type == pafs.FileType.File else None

    def names(self) -> list[str]:
        """Sorted names of the files and folders directly inside; empty where the folder does not exist."""
        with storage_errors("list", self.uri):
            entries = self.filesystem.get_file_info(pafs.FileSelector(self.path, allow_not_found=True))
        return sorted(entry.base_name for entry in entries)

    def files(self) -> list[str]:
        """Sorted relative names of all files below."""
        selector = pafs.FileSelector(self.path, allow_not_found=True, recursive=True)
        with storage_errors("list", self.uri):
            entries = self.filesystem.get_file_info(selector)
        start = len(self.path.rstrip("/")) + 1
        return sorted(entry.path[start:] for entry in entries if entry.type == pafs.FileType.File)

    def read(self, name: str) -> bytes:
        """The whole file ``name``."""
        with (
            storage_errors("read", self.at(name)),
            self.filesystem.open_input_stream(self.locate(name), compression=None) as stream,
        ):
            return stream.read()

    def read_if_there(self, name: str) -> bytes | None:
        """The whole file ``name``, or None if there is no such file; one request."""
        with storage_errors("read", self.at(name)):
            try:
                with self.filesystem.open_input_stream(self.locate(name), compression=None) as stream:
                    return stream.read()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def read_checked(self, name: str, sha256: str) -> bytes | None:
        """The whole file if its bytes hash to ``sha256``, else None; what came over a network damaged is fetched once more."""
        for _ in range(1 if self.local else 2):
            data = self.read(name)
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
            if not self.local:
                note_error("damaged")
        return None

    def open(self, name: str) -> pa.NativeFile:
        """A seekable reader of the file ``name``."""
        with storage_errors("read", self.at(name)):
            return self.filesystem.open_input_file(self.locate(name))

    def open_if_there(self, name: str) -> pa.NativeFile | None:
        """A seekable reader of the file ``name``, or None where there is no such file."""
        with storage_errors("read", self.at(name)):
            try:
                return self.filesystem.open_input_file(self.locate(name))
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write the file ``name`` so that it is either whole or absent: renamed into place, or one object put."""
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
        """Remove the file ``name``."""
        with storage_errors("delete", self.at(name)):
            self.filesystem.delete_file(self.locate(name))

    def delete_folder(self, name: str) -> None:
        """Remove the folder ``name`` and all below it; a local one is gone at once, and a link goes without what it points to."""
        path = self.locate(name)
        with storage_errors("delete", self.at(name)):
            if self.local:
                gone = f"{path}.gone-{uuid.uuid4().hex[:8]}"
                os.rename(path, gone)
                path = gone
            self.filesystem.delete_dir(path)


def open_folder(uri: str) -> Folder:
    """The folder at ``uri``: a path, file:///..., or s3://bucket/prefix with options (see distgnn.storage.uri).

    Raises RequestError for anything else, and for URIs that carry keys or passwords.
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

"""S3 file system for pyarrow, based on boto3, which supports the whole AWS credential chain (profiles, SSO, roles).

Each method is one request, or a few for listings and large uploads, retried as a whole. Only listing and deleting folders
send LIST requests. No folder markers are created. Pickles hold options, never credentials.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import pyarrow as pa
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from pyarrow import fs as pafs

from distgnn.errors import RequestError
from distgnn.storage.retry import with_retries
from distgnn.storage.s3_client import s3_client
from distgnn.storage.s3_errors import RAISED, ChangedError, TruncatedError, code_of, explained, kind_of
from distgnn.storage.uri import S3Options

T = TypeVar("T")
_PART_BYTES = 16 << 20
_DELETED_AT_ONCE = 1000
_UPLOAD = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=4)


@dataclass(frozen=True)
class S3Files(pafs.FileSystemHandler):
    """File system of objects addressed by "bucket/key".

    Methods raise FileNotFoundError, RequestError (access refused or wrong settings) or WorkError (still failing after retries).
    """

    options: S3Options

    def _do(self, action: str, path: str, work: Callable[[Any, str, str], T]) -> T:
        """Call ``work(client, bucket, key)`` with retries."""
        bucket, _, key = path.partition("/")
        try:
            client = s3_client(self.options)
            return with_retries(f"{action} s3://{path}", lambda: work(client, bucket, key), kind_of)
        except RAISED as error:
            raise explained(action, f"s3://{path}", error) from error

    def get_type_name(self) -> str:
        """Name of the file system type."""
        return "distgnn-s3"

    def normalize_path(self, path: str) -> str:
        """Return the path unchanged; keys are not normalised."""
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        """Info of the objects at ``paths``, by HEAD requests.

        Prefixes ("folders") are reported as not found, since detecting them would need a LIST request.
        """
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> pafs.FileInfo:
        try:
            head = self._do("look at", path, lambda client, bucket, key: client.head_object(Bucket=bucket, Key=key))
        except FileNotFoundError:
            return pafs.FileInfo(path, pafs.FileType.NotFound)
        return pafs.FileInfo(path, pafs.FileType.File, size=head["ContentLength"], mtime=head["LastModified"])

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        """Info of all objects below a prefix or, if not recursive, of its direct objects and prefixes."""
        base, deep = selector.base_dir.rstrip("/"), selector.recursive
        found = self._do("list", base, lambda client, bucket, key: list(_listed(client, bucket, key, deep)))
        if not found and not selector.allow_not_found:
            raise FileNotFoundError(f"s3://{base}")
        return found

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Open an object for random access; each read is one range request."""
        head = self._do("read", path, lambda client, bucket, key: client.head_object(Bucket=bucket, Key=key))
        return pa.PythonFile(_ObjectFile(self, path, head["ContentLength"], head.get("ETag", "")), mode="r")

    def open_sized(self, path: str, size: int, tail: int) -> tuple[pa.NativeFile, str]:
        """Open an object that should have ``size`` bytes for random access; its last ``tail`` bytes come in one request.

        Without the HEAD request of :meth:`open_input_file`. If the object has another size, that of the result is it.

        Returns:
            The file and its ETag.
        """
        start = max(size - tail, 0)
        data, found, etag = self._do("read", path, lambda client, bucket, key: _piece(client, bucket, key, start, size))
        ahead = (start, data) if found == size else (0, b"")
        return pa.PythonFile(_ObjectFile(self, path, found, etag, ahead), mode="r"), etag

    def open_version(self, path: str, size: int, etag: str) -> pa.NativeFile:
        """Open the version ``etag`` of an object, which has ``size`` bytes, for random access, without a request."""
        return pa.PythonFile(_ObjectFile(self, path, size, etag), mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """Download an object: small ones in one request, others in parts that are retried separately."""
        data, size, etag = self._do("read", path, _first_piece)
        if size <= len(data):
            return pa.BufferReader(data)
        rest = [self.fetch(path, at, min(at + _PART_BYTES, size), etag) for at in range(len(data), size, _PART_BYTES)]
        return pa.BufferReader(b"".join([data, *rest]))

    def fetch(self, path: str, start: int, stop: int, etag: str) -> bytes:
        """Bytes ``start:stop`` of the version ``etag`` of an object."""
        limits = {"Range": f"bytes={start}-{stop - 1}"} | ({"IfMatch": etag} if etag else {})

        def get(client: Any, bucket: str, key: str) -> bytes:
            answer = client.get_object(Bucket=bucket, Key=key, **limits)
            with closing(answer["Body"]) as body:  # closed, and its connection with it, where it is not read
                if etag and answer.get("ETag", etag) != etag:  # a server without support for If-Match
                    raise ChangedError("its ETag is another")
                data = body.read()
            if len(data) != stop - start:
                raise TruncatedError(f"{len(data)} of {stop - start} bytes came")
            return data

        return self._do("read", path, get)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:  # noqa: ARG002 - pyarrow's signature
        """Open an object for writing; it is uploaded atomically on close."""
        return pa.PythonFile(_Upload(self, path), mode="w")

    def put(self, path: str, data: bytes) -> None:
        """Write an object atomically; large ones by multipart upload."""

        def upload(client: Any, bucket: str, key: str) -> None:
            if len(data) <= _PART_BYTES:
                client.put_object(Bucket=bucket, Key=key, Body=data)
            else:
                client.upload_fileobj(io.BytesIO(data), bucket, key, Config=_UPLOAD)

        self._do("write", path, upload)

    def put_if(self, path: str, data: bytes, etag: str) -> bool:
        """Write a small object if its ETag is ``etag``, or with "" if there is no such object.

        Servers that do not know conditional writes, and ignore or refuse the condition, write it in any case.

        Returns:
            Whether it was written.
        """
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}

        def put(client: Any, bucket: str, key: str) -> bool:
            try:
                client.put_object(Bucket=bucket, Key=key, Body=data, **condition)
            except ClientError as error:
                if code_of(error) in ("412", "PreconditionFailed", "ConditionalRequestConflict", "409"):
                    return False
                if code_of(error) not in ("NotImplemented", "501"):
                    raise
                client.put_object(Bucket=bucket, Key=key, Body=data)
            return True

        return self._do("write", path, put)

    def etag_of(self, path: str, data: bytes) -> str | None:
        """ETag of an object if its contents are ``data``, else None."""

        def get(client: Any, bucket: str, key: str) -> str | None:
            answer = client.get_object(Bucket=bucket, Key=key)
            return answer["ETag"] if answer["Body"].read() == data else None

        return self._do("read", path, get)

    def delete_file(self, path: str) -> None:
        """Delete an object. A missing object is not an error, so that the request can be retried."""
        self._do("delete", path, lambda client, bucket, key: client.delete_object(Bucket=bucket, Key=key))

    def delete_dir(self, path: str) -> None:
        """Delete all objects below a prefix."""
        found = self.get_file_info_selector(pafs.FileSelector(path, allow_not_found=True, recursive=True))
        keys = [{"Key": info.path.partition("/")[2]} for info in found]
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            some = {"Objects": keys[start : start + _DELETED_AT_ONCE], "Quiet": True}
            answer = self._do("delete", path, lambda client, bucket, _, some=some: client.delete_objects(
                Bucket=bucket, Delete=some))  # fmt: skip
            for refused in answer.get("Errors", [])[:1]:
                raise RequestError(f"cannot delete s3://{path}: {refused.get('Key')} stays ({refused.get('Code')})")

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:  # noqa: ARG002 - prefixes are no objects
        """Same as :meth:`delete_dir`: a prefix exists only through its objects."""
        self.delete_dir(path)

    def create_dir(self, path: str, recursive: bool) -> None:
        """Do nothing: prefixes need not be created."""

    def delete_root_dir_contents(self) -> NoReturn:
        """Not supported: it would empty all buckets."""
        raise NotImplementedError("buckets are not emptied")

    def move(self, src: str, dest: str) -> NoReturn:
        """Not supported: objects cannot be renamed."""
        raise NotImplementedError("objects cannot be renamed; write them anew")

    copy_file = move

    def open_append_stream(self, path: str, metadata: Any) -> NoReturn:
        """Not supported: objects cannot be appended to."""
        raise NotImplementedError("objects cannot grow; write them anew")


class _ObjectFile(io.RawIOBase):
    """Random access to one version of an object. ``ahead``: offset and contents of a part that is there already."""

    def __init__(self, files: S3Files, path: str, size: int, etag: str, ahead: tuple[int, bytes] = (0, b"")) -> None:
        self._files, self._path, self._size, self._etag, self._at = files, path, size, etag, 0
        self._ahead = ahead

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        stop = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if stop <= self._at:
            return b""
        start, ahead = self._ahead
        if start <= self._at and stop <= start + len(ahead):
            data = ahead[self._at - start : stop - start]
        else:
            data = self._files.fetch(self._path, self._at, stop, self._etag)
        self._at = stop
        return data


class _Upload(io.RawIOBase):
    """Buffer that is uploaded on close."""

    def __init__(self, files: S3Files, path: str) -> None:
        self._files, self._path, self._parts = files, path, list[bytes]()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._files.put(self._path, self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))


def _first_piece(client: Any, bucket: str, key: str) -> tuple[bytes, int, str]:
    """(first bytes of an object, its size, its ETag)."""
    return _piece(client, bucket, key, 0, _PART_BYTES)


def _piece(client: Any, bucket: str, key: str, start: int, stop: int) -> tuple[bytes, int, str]:
    """(bytes ``start:stop`` of an object, or fewer if it is shorter, its size, its ETag)."""
    try:
        answer = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}")
    except ClientError as error:
        if code_of(error) in ("InvalidRange", "416"):  # it ends before the first byte; an empty object has none
            return b"", client.head_object(Bucket=bucket, Key=key)["ContentLength"] if start else 0, ""
        raise
    data = answer["Body"].read()
    size = int(answer.get("ContentRange", f"/{len(data)}").rpartition("/")[2])
    if len(data) != max(min(stop, size) - start, 0):
        raise TruncatedError(f"{len(data)} of {min(stop, size) - start} bytes came")
    return data, size, answer.get("ETag", "")


def _listed(client: Any, bucket: str, key: str, deep: bool) -> Iterator[pafs.FileInfo]:
    prefix, kind = f"{key}/" if key else "", {} if deep else {"Delimiter": "/"}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **kind):
        for item in page.get("Contents", []):
            if not item["Key"].endswith("/"):  # a folder marker of another tool
                path = f"{bucket}/{item['Key']}"
                yield pafs.FileInfo(path, pafs.FileType.File, size=item["Size"], mtime=item["LastModified"])
        for item in page.get("CommonPrefixes", []):
            yield pafs.FileInfo(f"{bucket}/{item['Prefix'].rstrip('/')}", pafs.FileType.Directory)

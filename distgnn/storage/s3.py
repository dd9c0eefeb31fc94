"""Buckets as a file system of pyarrow, made of boto3 so that the whole AWS chain works: profiles, SSO, roles that are renewed.

Each method is one request (listings and large uploads: a few), tried again as a whole while storage fails. Nothing but listing
and deleting folders sends LIST, and nothing leaves folder markers behind. Pickles hold the options, never credentials.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
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
    """Objects by "bucket/key". Raises FileNotFoundError, RequestError (refused) or WorkError (storage fails for too long)."""

    options: S3Options

    def _do(self, action: str, path: str, work: Callable[[Any, str, str], T]) -> T:
        """``work(client, bucket, key)``, tried again while storage fails."""
        bucket, _, key = path.partition("/")
        try:
            client = s3_client(self.options)
            return with_retries(f"{action} s3://{path}", lambda: work(client, bucket, key), kind_of)
        except RAISED as error:
            raise explained(action, f"s3://{path}", error) from error

    def get_type_name(self) -> str:
        """Name of this kind of file system."""
        return "distgnn-s3"

    def normalize_path(self, path: str) -> str:
        """Paths are keys: left as they are."""
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        """What lies at each path, by HEAD; prefixes ("folders") are not found, since telling would need a LIST."""
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> pafs.FileInfo:
        try:
            head = self._do("look at", path, lambda client, bucket, key: client.head_object(Bucket=bucket, Key=key))
        except FileNotFoundError:
            return pafs.FileInfo(path, pafs.FileType.NotFound)
        return pafs.FileInfo(path, pafs.FileType.File, size=head["ContentLength"], mtime=head["LastModified"])

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        """What lies below a prefix: all objects, or those directly there and the next prefixes."""
        base, deep = selector.base_dir.rstrip("/"), selector.recursive
        found = self._do("list", base, lambda client, bucket, key: list(_listed(client, bucket, key, deep)))
        if not found and not selector.allow_not_found:
            raise FileNotFoundError(f"s3://{base}")
        return found

    def open_input_file(self, path: str) -> pa.NativeFile:
        """A seekable reader; every read is a request of its own for just those bytes."""
        head = self._do("read", path, lambda client, bucket, key: client.head_object(Bucket=bucket, Key=key))
        return pa.PythonFile(_ObjectFile(self, path, head["ContentLength"], head.get("ETag", "")), mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """The whole object, fetched now: small ones by one request, others piece by piece, each tried again by itself."""
        data, size, etag = self._do("read", path, _first_piece)
        if size <= len(data):
            return pa.BufferReader(data)
        rest = [self.fetch(path, at, min(at + _PART_BYTES, size), etag) for at in range(len(data), size, _PART_BYTES)]
        return pa.BufferReader(b"".join([data, *rest]))

    def fetch(self, path: str, start: int, stop: int, etag: str) -> bytes:
        """Bytes start:stop of the version of an object that ``etag`` names."""
        limits = {"Range": f"bytes={start}-{stop - 1}"} | ({"IfMatch": etag} if etag else {})

        def get(client: Any, bucket: str, key: str) -> bytes:
            answer = client.get_object(Bucket=bucket, Key=key, **limits)
            if etag and answer.get("ETag", etag) != etag:  # a server that does not know If-Match
                raise ChangedError("its ETag is another")
            data = answer["Body"].read()
            if len(data) != stop - start:
                raise TruncatedError(f"{len(data)} of {stop - start} bytes came")
            return data

        return self._do("read", path, get)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:  # noqa: ARG002 - pyarrow's signature
        """A writer that puts the object when it is closed: whole or not there."""
        return pa.PythonFile(_Upload(self, path), mode="w")

    def put(self, path: str, data: bytes) -> None:
        """Write an object; large ones in parts, which become visible together."""

        def upload(client: Any, bucket: str, key: str) -> None:
            if len(data) <= _PART_BYTES:
                client.put_object(Bucket=bucket, Key=key, Body=data)
            else:
                client.upload_fileobj(io.BytesIO(data), bucket, key, Config=_UPLOAD)

        self._do("write", path, upload)

    def delete_file(self, path: str) -> None:
        """Remove an object; one that is not there is no error, since a repeated request must not fail."""
        self._do("delete", path, lambda client, bucket, key: client.delete_object(Bucket=bucket, Key=key))

    def delete_dir(self, path: str) -> None:
        """Remove all objects below a prefix."""
        found = self.get_file_info_selector(pafs.FileSelector(path, allow_not_found=True, recursive=True))
        keys = [{"Key": info.path.partition("/")[2]} for info in found]
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            some = {"Objects": keys[start : start + _DELETED_AT_ONCE], "Quiet": True}
            answer = self._do("delete", path, lambda client, bucket, _, some=some: client.delete_objects(
                Bucket=bucket, Delete=some))  # fmt: skip
            for refused in answer.get("Errors", [])[:1]:
                raise RequestError(f"cannot delete s3://{path}: {refused.get('Key')} stays ({refused.get('Code')})")

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:  # noqa: ARG002 - prefixes are no objects
        """The same: a prefix is nothing beside its objects."""
        self.delete_dir(path)

    def create_dir(self, path: str, recursive: bool) -> None:
        """Prefixes need no making."""

    def delete_root_dir_contents(self) -> NoReturn:
        """Refused: it would empty every bucket."""
        raise NotImplementedError("buckets are not emptied")

    def move(self, src: str, dest: str) -> NoReturn:
        """Refused: objects cannot be renamed."""
        raise NotImplementedError("objects cannot be renamed; write them anew")

    copy_file = move

    def open_append_stream(self, path: str, metadata: Any) -> NoReturn:
        """Refused: objects are written whole."""
        raise NotImplementedError("objects cannot grow; write them anew")


class _ObjectFile(io.RawIOBase):
    """A seekable reader of one version of an object."""

    def __init__(self, files: S3Files, path: str, size: int, etag: str) -> None:
        self._files, self._path, self._size, self._etag, self._at = files, path, size, etag, 0

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
        data = self._files.fetch(self._path, self._at, stop, self._etag)
        self._at = stop
        return data


class _Upload(io.RawIOBase):
    """Gathers what is written and puts it when closed."""

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
    """(the first bytes of an object, its size, its etag)."""
    try:
        answer = client.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{_PART_BYTES - 1}")
    except ClientError as error:
        if code_of(error) in ("InvalidRange", "416"):  # an empty object has no first byte
            return b"", 0, ""
        raise
    data = answer["Body"].read()
    return data, int(answer.get("ContentRange", f"/{len(data)}").rpartition("/")[2]), answer.get("ETag", "")


def _listed(client: Any, bucket: str, key: str, deep: bool) -> Iterator[pafs.FileInfo]:
    prefix, kind = f"{key}/" if key else "", {} if deep else {"Delimiter": "/"}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **kind):
        for item in page.get("Contents", []):
            if not item["Key"].endswith("/"):  # a marker that another tool left
                path = f"{bucket}/{item['Key']}"
                yield pafs.FileInfo(path, pafs.FileType.File, size=item["Size"], mtime=item["LastModified"])
        for item in page.get("CommonPrefixes", []):
            yield pafs.FileInfo(f"{bucket}/{item['Prefix'].rstrip('/')}", pafs.FileType.Directory)

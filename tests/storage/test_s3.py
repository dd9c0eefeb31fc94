"""Requests of the S3 file system, sent to a fake client: ranges, conditions, parts, pages."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pyarrow import fs as pafs

from distgnn.errors import RequestError
from distgnn.storage import s3 as module
from distgnn.storage.folder import Folder
from distgnn.storage.s3 import S3Files
from distgnn.storage.uri import S3Options

DATA = b"0123456789"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def refused(code: str, status: int = 400) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "X")


class Client:
    """Fake boto3 client. Attributes: ``fails``, errors of the next requests; ``asked``, arguments of all requests."""

    def __init__(self, **objects: bytes) -> None:
        self.objects, self.etag = {name.replace("__", "/"): data for name, data in objects.items()}, "e"
        self.fails: list[ClientError] = []
        self.asked: list[dict[str, Any]] = []

    def _ask(self, **request: Any) -> None:
        self.asked.append({name: value for name, value in request.items() if name not in ("Bucket", "Body")})
        if self.fails:
            raise self.fails.pop(0)

    def get_object(self, **request: Any) -> dict[str, Any]:
        self._ask(**request)
        data = self.objects[request["Key"]]
        low, high = (
            map(int, request["Range"].removeprefix("bytes=").split("-")) if "Range" in request else (0, len(data))
        )
        if low >= len(data):
            raise refused("InvalidRange", 416)
        part = data[low : high + 1]
        return {"Body": io.BytesIO(part), "ETag": self.etag, "ContentRange": f"bytes {low}-{high}/{len(data)}"}

    def head_object(self, **request: Any) -> dict[str, Any]:
        self._ask(**request)
        return {"ContentLength": len(self.objects[request["Key"]]), "ETag": self.etag, "LastModified": NOW}

    def put_object(self, **request: Any) -> None:
        self._ask(**request)
        self.objects[request["Key"]] = request["Body"]

    def upload_fileobj(self, file: io.BytesIO, bucket: str, key: str, Config: Any) -> None:  # noqa: N803 - boto3's name
        self._ask(Bucket=bucket, Key=key, Parts=Config.multipart_chunksize)
        self.objects[key] = file.read()

    def delete_objects(self, **request: Any) -> dict[str, Any]:
        self._ask(**request)
        return {
            "Errors": [
                {"Key": k["Key"], "Code": "AccessDenied"} for k in request["Delete"]["Objects"] if "kept" in k["Key"]
            ]
        }

    def get_paginator(self, name: str) -> Client:
        assert name == "list_objects_v2"
        return self

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        self._ask(**request)
        names = [name for name in self.objects if name.startswith(request["Prefix"])]
        if "Delimiter" in request:
            yield {"CommonPrefixes": [{"Prefix": f"{request['Prefix']}sub/"}]}
            names = [name for name in names if "/" not in name.removeprefix(request["Prefix"])]
        for name in names:
            yield {"Contents": [{"Key": name, "Size": len(self.objects[name]), "LastModified": NOW}]}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client(a__x=DATA, a__empty=b"")
    monkeypatch.setattr(module, "s3_client", lambda _: made)
    monkeypatch.setattr(module, "_PART_BYTES", 4)
    monkeypatch.setenv("DISTGNN_STORAGE_PATIENCE", "0")
    return made


@pytest.fixture
def folder(client: Client) -> Folder:  # noqa: ARG001 - its client
    return Folder(pafs.PyFileSystem(S3Files(S3Options())), "bucket/a", "s3://bucket/a")


def test_large_objects_are_read_in_parts_of_one_version(client: Client, folder: Folder) -> None:
    assert folder.read("x") == DATA
    ranges = [(request["Range"], request.get("IfMatch")) for request in client.asked]
    assert ranges == [("bytes=0-3", None), ("bytes=4-7", "e"), ("bytes=8-9", "e")]
    assert folder.read("empty") == b""
    client.objects["a/x"] = DATA[:4]
    client.asked.clear()
    assert folder.read("x") == DATA[:4]
    assert len(client.asked) == 1


def test_random_access(client: Client, folder: Folder) -> None:
    with folder.open("x") as file:
        assert (file.size(), file.read(3), file.tell(), file.read(0)) == (10, b"012", 3, b"")
        file.seek(-4, io.SEEK_END)
        assert file.read(2) == b"67"
        file.seek(-1, io.SEEK_CUR)
        assert (file.read(), file.read(), file.tell()) == (b"789", b"", 10)
    assert [request.get("Range") for request in client.asked] == [None, "bytes=0-2", "bytes=6-7", "bytes=7-9"]
    raw = module._ObjectFile(S3Files(S3Options()), "bucket/a/x", 10, "e")
    assert (raw.readable(), raw.seekable(), raw.read(None), raw.seek(-3), raw.read(2), raw.seek(-9, 1)) == (
        *(True, True, DATA, 0, b"01", 0),
    )


def test_changed_or_truncated_object_is_refused(client: Client, folder: Folder) -> None:
    files = S3Files(S3Options())
    assert files.fetch("bucket/a/x", 2, 5, "") == b"234"
    with pytest.raises(RequestError, match="it was changed while it was being read; start again"):
        files.fetch("bucket/a/x", 2, 5, "old")
    with pytest.raises(Exception, match="2 of 5 bytes came"):
        files.fetch("bucket/a/x", 8, 13, "e")
    client.fails = [refused("NoSuchKey", 404)]
    assert folder.size("x") is None
    assert folder.size("x") == 10


def test_objects_are_written_whole_or_in_parts(client: Client, folder: Folder) -> None:
    folder.write("small", b"1234")
    folder.write("large", b"12345")
    assert client.asked == [{"Key": "a/small"}, {"Key": "a/large", "Parts": 16 << 20}]
    assert (client.objects["a/small"], client.objects["a/large"]) == (b"1234", b"12345")


@pytest.mark.parametrize("code", ["412", "PreconditionFailed", "ConditionalRequestConflict", "409"])
def test_conditional_writes(client: Client, folder: Folder, code: str) -> None:
    assert folder.write_new("new", b"1")
    assert folder.replace("new", b"1", b"2")
    assert client.objects["a/new"] == b"2"
    conditions = [(request.get("IfNoneMatch"), request.get("IfMatch")) for request in client.asked]
    assert conditions == [("*", None), (None, None), (None, "e")]
    assert not folder.replace("new", b"1", b"3")
    client.fails = [refused(code, 412)]
    assert not folder.write_new("new", b"3")
    assert client.objects["a/new"] == b"2"


@pytest.mark.parametrize("code", ["NotImplemented", "501"])
def test_servers_without_conditional_writes(client: Client, folder: Folder, code: str) -> None:
    client.fails = [refused(code, 501)]
    assert folder.write_new("new", b"1")
    assert client.asked == [{"Key": "a/new", "IfNoneMatch": "*"}, {"Key": "a/new"}]
    client.fails = [refused("AccessDenied", 403)]
    with pytest.raises(RequestError, match="the storage refused access"):
        folder.write_new("new", b"1")


def test_listings(client: Client, folder: Folder) -> None:
    client.objects |= {"a/sub/y": b"1", "a/sub/": b"", "ab/z": b"2"}
    assert folder.names() == ["empty", "sub", "x"]
    assert folder.files() == ["empty", "sub/y", "x"]
    assert [(request["Prefix"], request.get("Delimiter")) for request in client.asked] == [("a/", "/"), ("a/", None)]
    files = S3Files(S3Options())
    sizes = {
        info.path: info.size for info in files.get_file_info_selector(pafs.FileSelector("bucket/a", recursive=True))
    }
    assert sizes == {"bucket/a/x": 10, "bucket/a/empty": 0, "bucket/a/sub/y": 1}
    assert files.get_file_info_selector(pafs.FileSelector("bucket/none", allow_not_found=True, recursive=True)) == []
    with pytest.raises(FileNotFoundError, match="s3://bucket/none"):
        files.get_file_info_selector(pafs.FileSelector("bucket/none", recursive=True))


def test_folders_are_deleted_in_groups(client: Client, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DELETED_AT_ONCE", 2)
    client.objects |= {f"a/sub/{number}": b"" for number in range(5)}
    folder.delete_folder("sub")
    groups = [[key["Key"] for key in request["Delete"]["Objects"]] for request in client.asked if "Delete" in request]
    assert groups == [["a/sub/0", "a/sub/1"], ["a/sub/2", "a/sub/3"], ["a/sub/4"]]
    client.objects["a/sub/kept"] = b""
    with pytest.raises(RequestError, match=r"cannot delete s3://bucket/a/sub: a/sub/kept stays \(AccessDenied\)"):
        folder.delete_folder("sub")

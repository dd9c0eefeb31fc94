"""Faults that pass are tried again, others are told at once, and nothing is half written."""

from __future__ import annotations

import gc
import pickle
import random
import time
from collections.abc import Iterator

import pytest

from distgnn.errors import RequestError, WorkError
from distgnn.storage import retry
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.retry import errors_by_kind, errors_seen, with_retries
from tests.helpers.faulty import Faulty, faulty
from tests.helpers.servers import KEY, SECRET, S3Server

DATA = bytes(range(256)) * 64


@pytest.fixture
def proxy(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """A fault proxy before each server, with the environment pointing at it."""
    with faulty(server.address) as made:
        for name, value in server.variables(made.address).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv(retry.VARIABLE, "20")
        monkeypatch.setattr(retry, "_FIRST_PAUSE", 0.005)
        yield made


@pytest.fixture
def folder(proxy: Faulty, server: S3Server) -> Folder:  # noqa: ARG001 - its environment
    return open_folder(f"s3://{server.bucket()}/f")


@pytest.mark.parametrize(("fault", "kind"), [
    ("500", "server"),
    ("slowdown", "throttled"),
    ("reset", "connection"),
    ("truncate", "damaged"),
    ("lost", "connection"),
])  # fmt: skip
def test_every_operation_survives(folder: Folder, proxy: Faulty, fault: str, kind: str) -> None:
    before, counted = errors_by_kind(), errors_seen()
    proxy.inject([fault], every=2, limit=1000)
    folder.write("a/x.bin", DATA)
    assert folder.read("a/x.bin") == DATA
    assert folder.size("a/x.bin") == len(DATA)
    assert folder.size("none") is None
    assert folder.names() == ["a"]
    assert folder.files() == ["a/x.bin"]
    with folder.open("a/x.bin") as file:
        file.seek(100)
        assert file.read(50) == DATA[100:150]
    folder.delete("a/x.bin")
    folder.write("a/y", b"1")
    folder.delete_folder("a")
    assert folder.files() == []
    assert proxy.injected[fault] >= 5
    assert errors_seen() - counted >= proxy.injected[fault]
    assert errors_by_kind()[kind] > before.get(kind, 0)


def test_large_objects_go_in_parts(folder: Folder, proxy: Faulty) -> None:
    data = DATA * 1200  # 19 MB
    proxy.inject(["500", "reset"], every=2, limit=2, only=["part"])
    folder.write("big", data)
    assert proxy.counts["part"] >= 3
    assert folder.read("big") == data


def test_what_came_damaged_is_read_again(folder: Folder, proxy: Faulty) -> None:
    digest = "18ac3e7343f016890c510e93f935261169d9e3f565436429830faf0934f4f8e4"  # of b"d"
    folder.write("a", b"d")
    proxy.inject(["flip"], only=["get"])
    assert folder.read_checked("a", digest) == b"d"
    assert proxy.counts["get"] == 2
    assert folder.read_checked("a", "0" * 64) is None


def test_gone_for_a_while(
    folder: Folder, proxy: Faulty, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "_SILENT_SECONDS", 0.5)
    monkeypatch.setattr(retry, "_LONGEST_PAUSE", 0.5)
    folder.write("a", b"1")
    proxy.gone_for(2.0)
    start = time.monotonic()
    assert folder.read("a") == b"1"
    assert 1.5 < time.monotonic() - start < 10
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 1  # the line is said once, however many requests meet the fault
    assert all("trying again for up to" in line and "s3://" in line for line in lines)


def test_patience_ends(folder: Folder, proxy: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(retry.VARIABLE, "1")
    proxy.gone_for(30)
    with pytest.raises(WorkError, match=r"cannot write s3://.*/f/a: storage still fails after 1 s"):
        folder.write("a", b"1")
    monkeypatch.setenv(retry.VARIABLE, "0")
    before = proxy.injected["gone"]
    with pytest.raises(WorkError, match="storage still fails"):
        folder.size("a")
    assert proxy.injected["gone"] == before + 1


@pytest.mark.parametrize("value", ["-1", "soon", "nan", "inf"])
def test_patience_must_be_a_number(folder: Folder, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(retry.VARIABLE, value)
    with pytest.raises(RequestError, match="must be a number of seconds"):
        folder.read("a")


def test_refusals_are_told_at_once(
    folder: Folder, proxy: Faulty, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = proxy.counts.total()
    with pytest.raises(RequestError, match=r"cannot write s3://no-such-bucket-7/a: the bucket does not exist"):
        open_folder("s3://no-such-bucket-7").write("a", b"")
    with pytest.raises(RequestError, match=r"cannot read .*/f/none: it does not exist"):
        folder.read("none")
    assert proxy.counts.total() == before + 2
    if server.folder:  # moto believes any key
        folder.write("a", b"1")
        for name, value in (("AWS_ACCESS_KEY_ID", "AKIAOTHEROTHEROTHER7"), ("AWS_SECRET_ACCESS_KEY", "another")):
            monkeypatch.setenv(name, value)
            with pytest.raises(RequestError, match="the storage refused access") as caught:
                folder.read("a")
            assert value not in str(caught.value)


def test_an_object_that_changes_under_a_reader(folder: Folder) -> None:
    folder.write("a", b"1" * 100)
    with folder.open("a") as file:
        assert file.read(10) == b"1" * 10
        folder.write("a", b"2" * 100)
        with pytest.raises(RequestError, match="was changed while it was being read"):
            file.read(10)
    gc.collect()  # a connection that was left open would warn here


def test_pickles_hold_no_credentials(folder: Folder) -> None:
    folder.write("a", b"1")
    pickled = pickle.dumps(folder)
    assert KEY.encode() not in pickled
    assert SECRET.encode() not in pickled
    assert pickle.loads(pickled).read("a") == b"1"


def test_a_failed_write_leaves_nothing(folder: Folder, proxy: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(retry.VARIABLE, "0")
    proxy.inject(["reset"], limit=100, only=["put"])
    with pytest.raises(WorkError):
        folder.write("a", DATA)
    assert folder.size("a") is None


def test_no_list_and_no_extra_requests(folder: Folder, proxy: Faulty) -> None:
    folder.write("a/b", b"1")
    folder.size("a/b")
    folder.size("none")
    folder.read("a/b")
    folder.delete("a/b")
    folder.delete("a/b")
    assert proxy.counts == {"put": 1, "head": 2, "get": 1, "delete": 2}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses, which pass at once and are as long as they may be."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + sum(found))
    monkeypatch.setattr(random, "uniform", lambda _, high: high)
    monkeypatch.setattr(retry, "_failures", retry._Failures())
    return found


def test_backoff_and_messages(pauses: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    def gone() -> None:
        raise OSError("a\nb \x1b")

    with pytest.raises(OSError, match="a\nb"):
        with_retries("read s3://b/x", gone, lambda _: "server")
    assert pauses[:8] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0])
    assert 300 <= sum(pauses) < 310
    assert errors_by_kind() == {"server": len(pauses) + 1}
    assert errors_seen() == len(pauses) + 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == r"storage: cannot read s3://b/x (a b \x1b); trying again for up to 297 s"
    assert [int(line.split()[-2]) for line in lines] == [297, 257, 227, 197, 167, 137, 107, 77, 47, 17]  # each 30 s


def test_transient_errors_are_retried_and_others_raised(
    pauses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    errors = iter([OSError("1"), OSError("2")])

    def work() -> int:
        for error in errors:
            raise error
        return 7

    assert with_retries("read s3://b/x", work, lambda error: "timeout" if isinstance(error, OSError) else "") == 7
    assert errors_by_kind() == {"timeout": 2}
    with pytest.raises(ZeroDivisionError):
        with_retries("read s3://b/x", lambda: 1 / 0, lambda _: "")
    assert len(pauses) == errors_seen() == 2
    assert capsys.readouterr().err == ""  # in the first seconds nothing is said


@pytest.mark.parametrize(("text", "seconds"), [("", 300.0), ("0", 0.0), ("2.5", 2.5)])
def test_patience(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(retry.VARIABLE, text)
    assert retry.patience() == seconds
    monkeypatch.delenv(retry.VARIABLE)
    assert retry.patience() == 300

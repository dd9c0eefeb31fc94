"""Locks: one writer at a time, who it is, and the end of those that are no more."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from distgnn.errors import RequestError
from distgnn.storage import lock
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.lock import LOCK, Holder, locked
from distgnn.storage.process import is_gone, started_at
from distgnn.storage.temporary import machine, remove_left_over_beside, temporary_tail
from tests.helpers.faulty import faulty
from tests.helpers.servers import S3Server


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return open_folder(request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path / "a" / "b"))


def ended() -> Holder:
    """A holder whose process of this machine has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return Holder(owner="ann", pid=child.pid)


def test_the_second_writer_is_told_who_writes(folder: Folder) -> None:
    with locked(folder):
        with (
            pytest.raises(
                RequestError,
                match=rf"another command writes here \(.* on {socket.gethostname()}, process {os.getpid()}",
            ),
            locked(folder),
        ):
            pass
        assert folder.names() == [LOCK]
    assert folder.names() == []
    with locked(folder):
        pass


def test_folders_made_for_a_lock_go_with_it(tmp_path: Path) -> None:
    with locked(open_folder(str(tmp_path / "a" / "b"))):
        pass
    assert not list(tmp_path.iterdir())
    with locked(open_folder(str(tmp_path / "a" / "b"))):
        (tmp_path / "a" / "b" / "x").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["x"]


def test_the_lock_of_a_dead_command_is_taken_over(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.write(LOCK, ended().to_bytes())
    with locked(folder):
        assert b"ann" not in folder.read(LOCK)
    assert "took over the lock of a command that has ended (ann on " in capsys.readouterr().err
    assert folder.names() == []


def far(seconds: float = 60.0) -> Holder:
    """A holder on another machine."""
    return Holder(owner="ann", host="far", machine="0", pid=1, renewed=time.time() - seconds)


def test_a_holder_on_another_machine_that_renews_its_lock_keeps_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_WATCH_SECONDS", 30.0)
    other = far()
    folder.write(LOCK, other.to_bytes())
    renewed = replace(other, renewed=time.time()).to_bytes()
    timer = threading.Timer(0.2, folder.write, (LOCK, renewed))
    timer.start()
    with pytest.raises(RequestError, match="ann on far, process 1, last seen 20"), locked(folder):
        pass
    timer.join()
    assert folder.read(LOCK) == renewed


@pytest.mark.parametrize(("watched", "seconds"), [(0.2, 60.0), (0.2, -600.0), (1e9, 4000.0)])
def test_a_lock_of_another_machine_that_nobody_renews_is_taken_over(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, watched: float, seconds: float
) -> None:
    """Its time says nothing by itself, as clocks differ; what is an hour old is not watched."""
    monkeypatch.setattr(lock, "_WATCH_SECONDS", watched)
    folder.write(LOCK, far(seconds).to_bytes())
    with locked(folder):
        assert b"far" not in folder.read(LOCK)
    assert folder.names() == []


def test_another_process_of_the_same_id_is_another(folder: Folder) -> None:
    folder.write(LOCK, replace(Holder(), process="1").to_bytes())
    with locked(folder):
        pass
    assert is_gone(os.getpid(), "1")
    assert not is_gone(os.getpid(), started_at(os.getpid()))
    assert not is_gone(1)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"token": 1}', b'{"pid": 1e999}'])
def test_a_damaged_lock_is_taken_over(tmp_path: Path, text: bytes) -> None:
    (tmp_path / LOCK).write_bytes(text)
    with locked(open_folder(str(tmp_path))):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_writers_one_wins(folder: Folder, stale: bool) -> None:
    if stale:
        folder.write(LOCK, ended().to_bytes())
    inside, done = [], threading.Barrier(8)

    def write(number: int) -> None:
        try:
            with locked(folder):
                inside.append(number)
                done.wait(60)
        except RequestError:
            done.wait(60)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len(inside) == 1


def test_a_lock_is_renewed_and_a_lost_one_is_not_removed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lock, "_RENEW_SECONDS", 0.02)
    with locked(folder):
        before, until = folder.read(LOCK), time.monotonic() + 30
        while folder.read(LOCK) == before and time.monotonic() < until:
            time.sleep(0.01)
        assert folder.read(LOCK) != before
        other = Holder(owner="bob").to_bytes()
        while folder.read(LOCK) != other or "has taken the lock over" not in capsys.readouterr().err:
            folder.write(LOCK, other)
            time.sleep(0.1)
    assert folder.read(LOCK) == other


def test_a_lock_is_few_requests_and_none_in_between(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty(moto.address) as proxy:
        for name, value in moto.variables(proxy.address).items():
            monkeypatch.setenv(name, value)
        with locked(open_folder(f"s3://{moto.bucket()}/run")):
            assert proxy.counts == {"get": 2, "put": 1}
            time.sleep(0.1)
            assert proxy.counts == {"get": 2, "put": 1}
        assert proxy.counts == {"get": 3, "put": 1, "delete": 1}


def test_what_killed_commands_left_is_removed(tmp_path: Path) -> None:
    gone, ours = f".distgnn-tmp-{machine()}-{ended().pid}-12345678", temporary_tail()
    kept = [f"x{ours}", "y.distgnn-tmp-ffffffff-1-12345678", "z.tmp-12345678", f"{gone}", "model"]
    for name in (*kept, f"x{gone}", f"deep/er/x{gone}", f"staged{gone}/model"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with locked(open_folder(str(tmp_path))):
        pass
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
    assert not (tmp_path / f"staged{gone}").exists()


def test_leftovers_beside_a_target_are_removed(tmp_path: Path) -> None:
    gone = f".distgnn-tmp-{machine()}-{ended().pid}-12345678"
    kept = [f"x{temporary_tail()}", f"xy{gone}", "x.distgnn-tmp-0", "x"]
    for name in (*kept, f"x{gone}"):
        (tmp_path / name).mkdir()
    remove_left_over_beside(str(tmp_path / "x"))
    remove_left_over_beside(str(tmp_path / "none" / "x"))
    assert sorted(os.listdir(tmp_path)) == sorted(kept)

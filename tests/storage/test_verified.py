"""Verified folders: checksums.json is written last and deleted first, so a killed writer never leaves a complete-looking folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs as pafs

from distgnn.errors import RequestError, WorkError
from distgnn.storage.cache import pull_to_cache, read_cached
from distgnn.storage.claim import CLAIM
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.verified import (
    CHECKSUMS,
    Kind,
    publish,
    publish_safely,
    read_checksums,
    read_files,
    read_verified,
    remove_verified,
    seal,
)
from tests.helpers.corpora import contents

KIND = Kind("thing", "distgnn-thing", 1, ("a", "b"))
FILES = {"a": b"1", "b": b"22"}
SEALED = seal(FILES, KIND)
WHOLE = FILES | {CHECKSUMS: SEALED}


@pytest.fixture
def objects(tmp_path: Path) -> Folder:
    """A local folder treated as an object store: no renames, one request per file."""
    (tmp_path / "store" / "x").mkdir(parents=True)
    return Folder(pafs.SubTreeFileSystem(str(tmp_path / "store"), pafs.LocalFileSystem()), "x", "s3://bucket/x")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of written (+) and deleted (-) files, in order."""
    done: list[str] = []

    def noted(sign: str, method: Callable[..., None]) -> Callable[..., None]:
        def call(folder: Folder, name: str, *data: Any) -> None:
            done.append(sign + name)
            method(folder, name, *data)

        return call

    for sign, name in (("+", "write"), ("-", "delete")):
        monkeypatch.setattr(Folder, name, noted(sign, getattr(Folder, name)))
    return done


def test_seal_lists_sha256_and_size() -> None:
    entries = {
        "a": {"sha256": sha256(b"1").hexdigest(), "bytes": 1},
        "b": {"sha256": sha256(b"22").hexdigest(), "bytes": 2},
    }
    assert json.loads(SEALED) == {"format": "distgnn-thing", "version": 1, "files": entries}


def test_checksums_are_written_last(objects: Folder, tmp_path: Path, log: list[str]) -> None:
    local = open_folder(str(tmp_path / "local"))
    publish(objects, FILES, SEALED)
    publish(local, FILES, SEALED)
    assert log == ["+a", "+b", f"+{CHECKSUMS}"] * 2
    assert contents(tmp_path / "store" / "x") == contents(tmp_path / "local") == WHOLE


def test_replacing_a_folder_deletes_checksums_first(objects: Folder, log: list[str]) -> None:
    objects.write("notes", b"mine")
    publish(objects, FILES, SEALED)
    log.clear()
    new = {"a": b"3", "b": b"4"}
    publish_safely(objects, new, seal(new, KIND), KIND)
    assert log == [f"+{CLAIM}", f"-{CHECKSUMS}", "+a", "+b", f"+{CHECKSUMS}", f"-{CLAIM}"]
    assert read_verified(objects, KIND)[0] == new
    assert objects.names() == ["a", "b", CHECKSUMS, "notes"]


def test_checksums_of_a_cache_entry_are_written_last(
    objects: Folder, tmp_path: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTGNN_CACHE", str(tmp_path / "cache"))
    publish(objects, FILES, SEALED)
    log.clear()
    checksums = read_checksums(objects, KIND)
    assert checksums.key == sha256(SEALED).hexdigest()
    assert read_cached(objects, KIND, checksums, ["b"]) == {"b": b"22"}
    entry = pull_to_cache(objects, KIND, checksums)
    assert log == ["+b", "+a", f"+{CHECKSUMS}"]  # b was there
    assert contents(tmp_path / "cache") == {f"{checksums.key}/{name}": data for name, data in WHOLE.items()}
    assert pull_to_cache(objects, KIND, checksums) == entry
    assert len(log) == 3


def test_cache_without_home_folder_is_refused(objects: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(objects, FILES, SEALED)
    monkeypatch.delenv("DISTGNN_CACHE")
    monkeypatch.setattr(os.path, "expanduser", str)
    with pytest.raises(
        RequestError, match="there is no home folder for the cache; set DISTGNN_CACHE to a folder, or HOME"
    ):
        pull_to_cache(objects, KIND, read_checksums(objects, KIND))


def test_failed_publish_leaves_no_staged_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WorkError, match="No space left"):
            publish(open_folder(str(tmp_path / "x")), FILES, SEALED)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes").touch()
    with pytest.raises(RequestError, match=r"x: the folder holds other things \(notes\); choose an empty target"):
        publish(open_folder(str(tmp_path / "x")), FILES, SEALED)
    assert contents(tmp_path) == {"x/notes": b""}
    assert os.listdir(tmp_path) == ["x"]


def test_only_our_files_are_removed(objects: Folder, tmp_path: Path, log: list[str]) -> None:
    parent = Folder(objects.filesystem, "", "s3://bucket")
    publish(objects, FILES, SEALED)
    log.clear()
    remove_verified(parent, "x", KIND)
    assert log == [f"-{CHECKSUMS}", "-a", "-b"]
    local = open_folder(str(tmp_path))
    for name in ("alone", "beside", "part"):
        publish(local.sub(name), FILES, SEALED)
    local.sub("beside").write("notes", b"mine")
    local.sub("part").delete("a")
    (tmp_path / "link").symlink_to("part")
    for name in ("alone", "beside", "link"):
        remove_verified(local, name, KIND)
    assert sorted(os.listdir(tmp_path)) == ["beside", "part", "store"]
    assert contents(tmp_path / "beside") == {"notes": b"mine"}
    local.sub("part").write("notes", b"mine")
    remove_verified(local, "part", KIND)
    assert contents(tmp_path / "part") == {"notes": b"mine"}


def sealed(**changes: Any) -> bytes:
    return json.dumps(json.loads(SEALED) | changes).encode()


ENTRY = {"sha256": "0" * 64, "bytes": 1}


@pytest.mark.parametrize(("raw", "said"), [
    (sealed(format="zip"), "'zip' is not the format of a thing .distgnn-thing."),
    (sealed(version=2), "newer version of distgnn"),
    (sealed(files={"a": ENTRY}), r"lists other files than a thing has .'b'.; refusing it"),
    (sealed(files={"a": ENTRY, "b": ENTRY, "../c": ENTRY}), r"other files than a thing has .'../c'."),
    (sealed(files={"a": ENTRY, "b": {"sha256": "x"}}), r"not a list of checksums .*; pull the thing again"),
    (b" " * (1 << 20) + SEALED, "has more than 1048576 bytes"),
])  # fmt: skip
def test_invalid_checksums_are_refused(tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / CHECKSUMS).write_bytes(raw)
    with pytest.raises(RequestError, match=rf"{CHECKSUMS}: .*{said}"):
        read_checksums(open_folder(str(tmp_path)), KIND)


def test_incomplete_or_damaged_folder_is_refused(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path / "x"))
    with pytest.raises(RequestError, match=r"x: not a complete thing \(checksums.json is missing\)"):
        read_verified(folder, KIND)
    publish(folder, FILES, SEALED)
    assert read_verified(folder, KIND) == (FILES, SEALED)
    folder.write("b", b"2x")
    with pytest.raises(RequestError, match="b: wrong checksum, the file was changed or damaged; pull the thing again"):
        read_verified(folder, KIND)
    assert read_files(folder, KIND, read_checksums(folder, KIND), ["a"]) == {"a": b"1"}
    folder.delete("a")
    with pytest.raises(RequestError, match="a: missing from the thing; pull it again"):
        read_verified(folder, KIND)

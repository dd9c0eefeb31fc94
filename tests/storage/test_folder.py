"""Folders by URI: names stay inside, writes are whole or absent, and S3 works like a path."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distgnn.corpus.inspect import verify
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources.molecules import MoleculesConfig, MoleculesSource
from distgnn.errors import RequestError, WorkError
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.uri import parent
from tests.helpers.corpora import contents, motifs


def test_s3_round_trip(s3: str, tmp_path: Path) -> None:
    motifs(tmp_path / "local")
    motifs(s3)
    folder = open_folder(s3)
    assert {name: folder.read(name) for name in folder.files()} == contents(tmp_path / "local")
    assert verify(s3).ok
    here, there = (CorpusReader(uri).load() for uri in (str(tmp_path / "local"), s3))
    assert torch.equal(here.edges, there.edges)
    with pytest.raises(RequestError, match="already exists"):
        motifs(s3)
    motifs(s3, graphs=20, overwrite=True)
    assert CorpusReader(s3).manifest.graphs == 20
    folder.delete("shard-00000.parquet")
    with pytest.raises(RequestError, match=r"shard-00000.parquet: missing shard"):
        CorpusReader(s3).load()
    folder.write("in/m.csv.gz", gzip.compress(b"smiles\nCO\nCCN\n"))
    made = MoleculesSource(MoleculesConfig(input=(f"{s3}/in/m.csv.gz",), out=""))
    assert [part.fields for part in made.parts()] == [[["CO"], ["CCN"]]]
    start = time.monotonic()
    with pytest.raises((RequestError, WorkError), match="s3://nosuchbucket"):
        motifs("s3://nosuchbucket/x", graphs=20)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/../../x", "/x", "a\\..\\b"])
def test_names_stay_inside(tmp_path: Path, name: str) -> None:
    folder = open_folder(str(tmp_path))
    for action in (folder.read, folder.size, folder.open, folder.delete, lambda n: folder.write(n, b""), folder.sub):
        with pytest.raises(RequestError, match="does not stay inside its folder"):
            action(name)


def test_folder_works_alike_for_paths_and_file_uris(tmp_path: Path) -> None:
    for uri in (str(tmp_path / "a b"), f"file://{tmp_path}/plain"):
        folder = open_folder(uri)
        assert folder.names() == []
        folder.write("deep/er/x.bin", b"12345")
        folder.write("y", b"")
        folder.write("z.gz", b"as it is")
        assert folder.read("z.gz") == b"as it is"  # Arrow would unpack it by its name
        folder.delete("z.gz")
        assert folder.files() == ["deep/er/x.bin", "y"]
        assert folder.names() == ["deep", "y"]
        assert (folder.size("deep/er/x.bin"), folder.size("deep"), folder.size("none")) == (5, None, None)
        assert folder.sub("deep").read("er/x.bin") == b"12345"
        folder.delete("y")
        folder.delete_folder("deep")
        assert folder.files() == []


def test_write_syncs_before_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, names = [], []

    def fsync(file: int, sync: Callable[[int], None] = os.fsync) -> None:
        sync(file)
        synced.append((os.fstat(file).st_ino, os.fstat(file).st_size))
        names.append((tmp_path / "x").exists())

    monkeypatch.setattr(os, "fsync", fsync)
    open_folder(str(tmp_path)).write("x", b"12345")
    assert synced == [((tmp_path / "x").stat().st_ino, 5)]
    assert names == [False]


@pytest.mark.parametrize(("failing", "action"), [
    ("fsync", lambda folder: folder.write("x", b"new")),
    ("replace", lambda folder: folder.write("x", b"new")),
    ("link", lambda folder: folder.write_new("y", b"new")),
    ("replace", lambda folder: folder.replace("x", b"old", b"new")),
])  # fmt: skip
def test_failed_write_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, action: Callable[[Folder], object]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    folder = open_folder(str(tmp_path))
    folder.write("x", b"old")
    monkeypatch.setattr(os, failing, refuse)
    with pytest.raises(WorkError, match="Input/output error"):
        action(folder)
    assert contents(tmp_path) == {"x": b"old"}


def test_no_file_descriptor_leaks(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    folder.write("x", b"1")
    folder.read("x")  # pyarrow's own files
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        folder.write("x", b"1")
        assert folder.read("x") == folder.read_if_there("x") == b"1"
        assert folder.replace("x", b"1", b"1")
        folder.open("x").close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_bad_uris() -> None:
    with pytest.raises(RequestError, match="empty path"):
        open_folder("")


OTHERS = [
    "ftp://h/x", "gs://b/x", "az://b/x", "hdfs://h/x", "s3a://b/x", "S3://b/x", "s3:/b/x", "gs:/b", "data:/x", "file:x", "s3:b",
]  # fmt: skip


@pytest.mark.parametrize("uri", OTHERS)
def test_other_schemes_are_refused_at_once(uri: str) -> None:
    start = time.monotonic()
    with pytest.raises(
        RequestError, match="not a path, file:// or s3:// URI; give a path, file:///PATH or s3://BUCKET"
    ):
        open_folder(uri)
    assert time.monotonic() - start < 1


def test_a_file_uri_names_its_place(tmp_path: Path) -> None:
    for start in ("file:", "file://", "file://localhost"):
        assert open_folder(f"{start}{tmp_path}/a%20b/") == open_folder(f"{tmp_path}/a b")
    assert parent(f"file://{tmp_path}/a%20b/c%20d.csv") == (f"{tmp_path}/a b", "c d.csv")
    with pytest.raises(RequestError, match="files of another host"):
        open_folder("file://server/x")


def test_a_colon_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_folder("run:1/x").path == f"{tmp_path}/run:1/x"
    assert open_folder("./data:/x").path == f"{tmp_path}/data:/x"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"cannot read .*/none: it does not exist"):
        open_folder(str(tmp_path)).read("none")

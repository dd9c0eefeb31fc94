"""Names that others chose never lead out of their folder, whether by dots, roots or links."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from distgnn.checkpoint import push_pull
from distgnn.checkpoint.format import load_checkpoint, newest
from distgnn.corpus.inspect import verify
from distgnn.corpus.reader import CorpusReader
from distgnn.errors import RequestError
from distgnn.network.store import load_network, save_network
from distgnn.pretraining.run import Run
from distgnn.storage.folder import open_folder
from distgnn.storage.verified import CHECKSUMS
from tests.helpers.corpora import contents, edit_manifest
from tests.helpers.networks import papers
from tests.helpers.training import continue_small, small, train_small

ESCAPES = [
    "../outside.bin",
    "a/../../outside.bin",
    "{outside}",
    "..\\outside.bin",
    "../outside.bin\0.parquet",
    "..",
    "",
]


@pytest.fixture(scope="module")
def trained(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_small(small(corpus, tmp_path_factory.mktemp("trained"), max_steps=2))


@pytest.fixture
def outside(tmp_path: Path, corpus: str) -> Path:
    """A good shard that lies where no corpus may reach it."""
    return Path(shutil.copy(f"{corpus}/shard-00000.parquet", tmp_path / "outside.bin"))


@pytest.mark.parametrize("name", ESCAPES)
def test_shards_stay_in_their_corpus(corpus: str, outside: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(corpus, tmp_path / "copy"))
    shards = json.loads((copy / "corpus.json").read_text())["shards"]
    edit_manifest(copy, shards=[shards[0] | {"name": name.format(outside=outside)}, *shards[1:]])
    with pytest.raises(RequestError, match=r"does not stay inside its folder|does not print"):
        CorpusReader(str(copy)).unit(0)
    with pytest.raises(RequestError, match=r"does not stay inside its folder|does not print"):
        verify(str(copy))


@pytest.mark.parametrize("name", ESCAPES)
def test_arrays_stay_in_their_network(tmp_path: Path, outside: Path, name: str) -> None:
    save_network(papers(), str(tmp_path / "net"))
    path = tmp_path / "net" / "network.json"
    manifest = json.loads(path.read_text())
    manifest["arrays"]["source"]["file"] = name.format(outside=outside)
    path.write_text(json.dumps(manifest))
    with pytest.raises(RequestError, match=r"does not stay inside its folder|does not print"):
        load_network(str(tmp_path / "net"))


@pytest.mark.parametrize("name", ESCAPES)
def test_a_checkpoint_has_just_its_files(trained: Run, outside: Path, tmp_path: Path, name: str) -> None:
    source = newest(trained.folder)
    assert source is not None
    copy = Path(shutil.copytree(source.path, tmp_path / "copy"))
    sealed = json.loads((copy / CHECKSUMS).read_text())
    sealed["files"][name.format(outside=outside)] = {"sha256": "0" * 64, "bytes": 1}
    (copy / CHECKSUMS).write_text(json.dumps(sealed))
    for action in (lambda: load_checkpoint(str(copy)), lambda: push_pull.pull(str(copy), str(tmp_path / "home"))):
        with pytest.raises(RequestError, match="lists other files than a checkpoint has"):
            action()
    assert not (tmp_path / "home").exists()


def precious(folder: Path) -> dict[str, bytes]:
    (folder / "work").mkdir(parents=True)
    (folder / "work" / "thesis.txt").write_text("years")
    (folder / CHECKSUMS).write_text("not ours")
    return contents(folder)


def test_links_among_checkpoints_are_not_followed_when_old_ones_go(corpus: str, tmp_path: Path) -> None:
    before = precious(tmp_path / "precious")
    run = train_small(small(corpus, tmp_path, "run", checkpoint_every=1, keep=1, max_steps=4), stop_after=3)
    for name in ("step-000000000", "odd", "step-000000009"):
        (tmp_path / "run" / "checkpoints" / name).symlink_to(tmp_path / "precious", target_is_directory=True)
    assert continue_small(run) == "finished"
    assert contents(tmp_path / "precious") == before


def test_writing_and_deleting_spare_what_a_link_points_to(tmp_path: Path) -> None:
    before = precious(tmp_path / "precious")
    folder = open_folder(str(tmp_path / "here"))
    folder.write("x", b"old")
    (tmp_path / "here" / "file").symlink_to(tmp_path / "precious" / "work" / "thesis.txt")
    (tmp_path / "here" / "link").symlink_to(tmp_path / "precious", target_is_directory=True)
    folder.write("file", b"new")
    assert folder.read("file") == b"new"
    folder.delete_folder("link")
    assert contents(tmp_path / "precious") == before


def test_pulling_over_a_link_spares_what_it_points_to(trained: Run, tmp_path: Path) -> None:
    before = precious(tmp_path / "precious")
    (tmp_path / "target").symlink_to(tmp_path / "precious", target_is_directory=True)
    with pytest.raises(RequestError, match="another checkpoint is already there"):
        push_pull.pull(trained.folder.uri, str(tmp_path / "target"))
    (tmp_path / "precious" / CHECKSUMS).unlink()
    with pytest.raises(RequestError, match="holds other things"):
        push_pull.pull(trained.folder.uri, str(tmp_path / "target"))
    assert contents(tmp_path / "precious") == {name: data for name, data in before.items() if name != CHECKSUMS}

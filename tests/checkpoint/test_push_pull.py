"""push and pull: verified copies, never over something else, and a cache keyed by content."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from distgnn.checkpoint import push_pull
from distgnn.checkpoint.format import load_checkpoint, newest
from distgnn.checkpoint.load import load_encoder
from distgnn.errors import RequestError, WorkError
from distgnn.pretraining.run import Run
from distgnn.storage import zoo
from distgnn.storage.claim import CLAIM
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.verified import publish_safely
from tests.helpers.corpora import contents
from tests.helpers.training import small, train_small


@pytest.fixture(scope="module")
def runs(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    out = tmp_path_factory.mktemp("runs")
    return [train_small(small(corpus, out, f"seed{seed}", max_steps=2, seed=seed)) for seed in (0, 1)]


def source(run: Run) -> Path:
    found = newest(run.folder)
    assert found is not None
    return Path(found.path)


def test_push_then_pull(runs: list[Run], tmp_path: Path) -> None:
    there = push_pull.push(runs[0].folder.uri, str(tmp_path / "a" / "b"))
    back = push_pull.pull(there, str(tmp_path / "back"))
    assert contents(Path(back)) == contents(source(runs[0]))
    assert push_pull.push(runs[0].folder.uri, there) == there
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "back"]


def test_another_checkpoint_or_other_files_are_not_overwritten(runs: list[Run], tmp_path: Path) -> None:
    target = tmp_path / "target"
    push_pull.push(runs[0].folder.uri, str(target))
    before = contents(target)
    with pytest.raises(RequestError, match="another checkpoint is already there"):
        push_pull.push(runs[1].folder.uri, str(target))
    assert contents(target) == before
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RequestError, match=r"holds other things \(target\)"):
        push_pull.pull(runs[0].folder.uri, str(tmp_path))


@pytest.mark.parametrize("step", ["names", "rename"])
def test_another_process_that_copies_the_same_checkpoint_is_faster(
    step: str, runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = runs[0].folder.uri, str(tmp_path / "copy")
    other = push_pull.push(source, str(tmp_path / "other"))
    where, called = (Folder, "names") if step == "names" else (os, "rename")
    plain = getattr(where, called)

    def late(*words: Any) -> Any:
        if step == "names" and words[0].uri != target:
            return plain(*words)
        monkeypatch.setattr(where, called, plain)
        plain_rename(other, target)
        return plain(*words)

    plain_rename = os.rename
    monkeypatch.setattr(where, called, late)
    assert push_pull.push(source, target) == target
    assert not Path(other).exists()
    load_checkpoint(target)


def test_files_of_others_with_the_names_of_ours_stay(runs: list[Run], tmp_path: Path) -> None:
    for name, target in {"config.json": "hf", "card.md/thesis.txt": "hf2", "checksums.json": "hf3"}.items():
        path = tmp_path / target / name
        path.parent.mkdir(parents=True)
        path.write_text("my only copy")
        with pytest.raises(RequestError):
            push_pull.push(runs[0].folder.uri, str(tmp_path / target))
        assert contents(tmp_path / target) == {name: b"my only copy"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf", "hf2", "hf3"]


def test_a_copy_that_was_killed_after_its_last_file(runs: list[Run], s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distgnn.storage.verified.settle", interrupt)
    with pytest.raises(KeyboardInterrupt):
        push_pull.push(runs[0].folder.uri, s3)
    assert CLAIM in open_folder(s3).names()
    assert push_pull.push(runs[0].folder.uri, s3) == s3
    assert CLAIM not in open_folder(s3).names()


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_unfinished_copy_of_ours_is_finished(runs: list[Run], s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, write = open_folder(s3), Folder.write

    def killed(folder: Folder, name: str, data: bytes) -> None:
        if name == "state.json":
            raise KeyboardInterrupt
        write(folder, name, data)

    monkeypatch.setattr(Folder, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        push_pull.push(runs[0].folder.uri, s3)
    monkeypatch.setattr(Folder, "write", write)
    assert "config.json" in target.names()
    assert push_pull.push(runs[1].folder.uri, s3) == s3
    assert {name: target.read(name) for name in target.names()} == contents(source(runs[1]))


def test_objects_of_others_stay(runs: list[Run], s3: str) -> None:
    target = open_folder(s3)
    target.write("config.json", b"my only copy")
    with pytest.raises(RequestError, match=r"holds other things \(config.json\)"):
        push_pull.push(runs[0].folder.uri, s3)
    assert {name: target.read(name) for name in target.names()} == {"config.json": b"my only copy"}


def test_target_through_a_link(runs: list[Run], tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    push_pull.push(runs[0].folder.uri, str(tmp_path / "link"))
    assert contents(tmp_path / "real") == contents(source(runs[0]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


def test_names_that_are_not_utf8(runs: list[Run], tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff")).touch()
    with pytest.raises(RequestError, match="holds other things"):
        push_pull.push(runs[0].folder.uri, str(tmp_path))
    with pytest.raises(RequestError, match=r"\\udcff': the name is not valid UTF-8"):
        push_pull.push(runs[0].folder.uri, os.fsdecode(b"\xff"))


def test_a_damaged_source_is_not_copied(runs: list[Run], tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    push_pull.push(runs[0].folder.uri, str(bad))
    (bad / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(RequestError, match="wrong checksum"):
        push_pull.pull(str(bad), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


def test_copy_is_verified(runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone else may write to the target at the same time."""
    other = contents(source(runs[1]))

    def damaged(folder: Folder, *given: Any) -> None:
        publish_safely(folder, *given)
        folder.write("card.md", b"mine")

    def replaced(folder: Folder, *_: Any) -> None:
        for name, data in other.items():
            folder.write(name, data)

    monkeypatch.setattr(push_pull, "publish_safely", damaged)
    with pytest.raises(RequestError, match=r"card.md: wrong checksum"):
        push_pull.pull(runs[0].folder.uri, str(tmp_path / "damaged"))
    with pytest.raises(RequestError, match=r"card.md: wrong checksum"):  # what is there is verified too
        push_pull.pull(runs[0].folder.uri, str(tmp_path / "damaged"))
    monkeypatch.setattr(push_pull, "publish_safely", replaced)
    with pytest.raises(WorkError, match=r"replaced: the copy differs from its source; someone else wrote there"):
        push_pull.pull(runs[0].folder.uri, str(tmp_path / "replaced"))


def test_cache(runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGNN_CACHE", str(tmp_path / "cache"))
    first, second = (push_pull.pull(run.folder.uri) for run in runs)
    assert first != second
    assert push_pull.pull(str(source(runs[0]))) == first
    assert len(list((tmp_path / "cache").iterdir())) == 2
    (Path(first) / "card.md").write_text("damaged")
    assert push_pull.pull(runs[0].folder.uri) == first
    assert contents(Path(first)) == contents(source(runs[0]))


def test_object_store(runs: list[Run], tmp_path: Path, s3: str) -> None:
    target = f"{s3}/model"
    assert push_pull.push(runs[0].folder.uri, target) == target
    assert load_checkpoint(target).step == 2
    assert load_encoder(target).width == 12
    assert contents(Path(push_pull.pull(target, str(tmp_path / "home")))) == contents(source(runs[0]))
    with pytest.raises(RequestError, match="another checkpoint"):
        push_pull.push(runs[1].folder.uri, target)


def test_a_run_on_an_object_store(corpus: str, s3: str) -> None:
    run = train_small(small(corpus, s3, max_steps=3, checkpoint_every=1, keep=1))
    assert run.folder.sub("checkpoints").names() == ["step-000000003"]
    assert load_checkpoint(run.folder.uri).step == 3


def test_a_copy_of_the_weights_alone_gives_the_same_encoder(runs: list[Run], tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("# Molecules\n")
    there = push_pull.push(
        runs[0].folder.uri, str(tmp_path / "copy"), weights_only=True, card=str(tmp_path / "card.md")
    )
    whole, light = load_checkpoint(runs[0].folder.uri), load_checkpoint(there)
    assert light.optimiser == {}
    assert light.state == whole.state
    assert all(torch.equal(light.model[name], value) for name, value in whole.model.items())
    assert (Path(there) / "card.md").read_text() == "# Molecules\n"
    assert push_pull.push(runs[0].folder.uri, there, weights_only=True, card=str(tmp_path / "card.md")) == there


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"\xff\xfe", "no model card"), (b"x" * ((1 << 20) + 1), "no model card"), (None, "cannot be read")],
)
def test_a_card_that_is_not_text_is_refused(runs: list[Run], tmp_path: Path, data: bytes | None, said: str) -> None:
    if data is not None:
        (tmp_path / "card.md").write_bytes(data)
    with pytest.raises(RequestError, match=said):
        push_pull.push(runs[0].folder.uri, str(tmp_path / "copy"), card=str(tmp_path / "card.md"))
    assert not (tmp_path / "copy").exists()


def test_shipped_models_are_found_by_name(runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "roots", lambda: (tmp_path / "a", tmp_path / "b"))
    push_pull.push(runs[0].folder.uri, str(tmp_path / "b" / "mine"))
    assert push_pull.pull("zoo:mine", str(tmp_path / "pulled")) == str(tmp_path / "pulled")
    assert load_encoder("zoo:mine").width == load_encoder(runs[0].folder.uri).width
    for name in ("other", "../b/mine", ""):
        with pytest.raises(RequestError, match="no such shipped model; known: mine"):
            open_folder(f"zoo:{name}")


def test_shipped_models_are_installed_and_load() -> None:
    root = Path(__file__).resolve().parents[2]
    told = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    assert {path for paths in told.values() for path in paths} == {f"models/{name}/*" for name in zoo.names()}
    for name in ("molecules", "molecules-attrmasking", "proteins"):
        assert load_encoder(f"zoo:{name}").width == 128

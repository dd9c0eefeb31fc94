"""Deletion of runs: all that distgnn wrote, nothing else, and never a run at which a command works."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import distgnn as dg
from distgnn.cli import main
from distgnn.storage.folder import open_folder
from distgnn.storage.lock import locked
from tests.helpers.corpora import contents
from tests.helpers.training import small


@pytest.fixture(scope="module")
def made(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs in a folder, with all the files that a run may have."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("first", "second"):
        run = dg.pretrain(small(corpus, folder, name=name, max_steps=3, keep_best=1, validate_every=1), loggers=["csv"])
    dg.write_report(run.uri)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """Their copies."""
    return Path(shutil.copytree(made, tmp_path, dirs_exist_ok=True))


def test_a_run_is_deleted_whole_and_others_stay(place: Path) -> None:
    before = contents(place / "second")
    assert dg.delete_run(str(place), "first") == str(place / "first")
    assert [path.name for path in place.iterdir()] == ["second"]
    assert contents(place / "second") == before
    with pytest.raises(dg.RequestError, match="no run here"):
        dg.delete_run(str(place), "first")
    dg.delete_run(str(place), "second")
    assert not list(place.iterdir())


@pytest.mark.parametrize("file", ["thesis.txt", "checkpoints/step-best/x", "checkpoints/step-000000003/x", "history/x"])
def test_files_of_others_keep_everything(place: Path, file: str) -> None:
    path = place / "first" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    before = contents(place)
    with pytest.raises(dg.RequestError, match="has not written"):
        dg.delete_run(str(place), "first")
    assert contents(place) == before


def test_a_run_in_use_is_refused(place: Path) -> None:
    before = contents(place / "second")
    with locked(open_folder(str(place / "first"))), pytest.raises(dg.RequestError, match="another command writes here"):
        dg.delete_run(str(place), "first")
    assert (place / "first" / "config.json").exists()
    assert contents(place / "second") == before


def test_what_is_no_run_is_refused(place: Path, corpus: str) -> None:
    (place / "mine").mkdir()
    (place / "mine" / "progress.json").write_text("{}")
    (place / "config").mkdir()
    (place / "config" / "config.json").write_text("{}")
    (place / "link").symlink_to(place / "first")
    before = contents(place)
    names = {
        "mine": "no run here",
        "config": "config",
        "link": "symbolic link",
        "../x": "not a path",
        "first/": "not a path",
        "..": "inside",
    }
    for name, said in names.items():
        with pytest.raises(dg.RequestError, match=said):
            dg.delete_run(str(place), name)
    with pytest.raises(dg.RequestError):
        dg.delete_run(str(Path(corpus).parent), Path(corpus).name)
    assert contents(place) == before


def test_on_s3(place: Path, s3: str) -> None:
    source, target = open_folder(str(place / "first")), open_folder(f"{s3}/first")
    for name in source.files():
        target.write(name, source.read(name))
    assert dg.delete_run(s3, "first")
    assert not target.files()


def test_command_asks(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["runs", str(place), "--delete", "first"]
    assert main(words) == 2
    assert "add --yes" in capsys.readouterr().err
    for answer, left in (("n\n", True), ("\n", True), ("y\n", False)):
        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        monkeypatch.setattr("sys.stdin.readline", lambda answer=answer: answer)
        assert main(words) == 0
        assert (place / "first").exists() == left
    assert "deleted" in capsys.readouterr().out
    assert main(["runs", str(place), "--delete", "second", "--yes"]) == 0
    assert not list(place.iterdir())

"""Files of others: never deleted, never written over, and names that only look like ours are ignored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import distgnn as dg
from distgnn.api.output import check_results
from distgnn.checkpoint.format import FOLDER, load_checkpoint
from distgnn.cli import main
from distgnn.corpus.writer import STATE
from distgnn.errors import RequestError
from distgnn.network.store import load_network, save_network
from distgnn.pretraining.history import read_history, read_progress
from distgnn.storage.claim import CLAIM, claim, claimed, settle
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.lock import LOCK
from tests.helpers.corpora import contents, motifs
from tests.helpers.training import continue_small, small, train_small
from tests.helpers.transfers import write, write_network


def test_copies_among_checkpoints_are_ignored_and_kept(corpus: str, tmp_path: Path) -> None:
    run = train_small(small(corpus, tmp_path, max_steps=6, checkpoint_every=2, keep=2), stop_after=4)
    folder = tmp_path / "run" / FOLDER
    assert sorted(path.name for path in folder.iterdir()) == ["step-000000002", "step-000000004"]
    copies = ["step-best", "step-000000002-copy", "step-9", "step-000000002.bak"]
    for name in copies:
        shutil.copytree(folder / "step-000000002", folder / name)
    (folder / "step-000000002" / "notes.txt").write_text("mine")
    (tmp_path / "run" / "history" / "notes.txt").write_text("mine")
    assert load_checkpoint(str(tmp_path / "run")).step == 4
    assert continue_small(run) == "finished"
    assert read_progress(run.folder)["first"] == 4
    assert len(read_history(run.folder)) > 0
    kept = sorted([*copies, "step-000000002", "step-000000004", "step-000000006"])
    assert sorted(path.name for path in folder.iterdir()) == kept
    assert contents(folder / "step-000000002") == {"notes.txt": b"mine"}


def test_an_incomplete_checkpoint_with_files_of_others(corpus: str, tmp_path: Path) -> None:
    run = train_small(small(corpus, tmp_path, max_steps=6, checkpoint_every=2, keep=2), stop_after=4)
    odd = tmp_path / "run" / FOLDER / "step-000000005"
    odd.mkdir()
    (odd / "thesis.txt").write_text("mine")
    with pytest.raises(RequestError, match=r"step-000000005: holds other things \(thesis.txt\); move them away"):
        continue_small(run)
    assert contents(odd) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["shard-00000.parquet", "rejected-00000.tsv", "corpus.json"])
def test_a_corpus_is_not_built_over_files_of_others(tmp_path: Path, name: str, overwrite: bool) -> None:
    (tmp_path / name).write_text('{"documents": 7}')
    with pytest.raises(RequestError, match=r"other things|not the manifest of a corpus|already exists"):
        motifs(tmp_path, graphs=20, overwrite=overwrite)
    assert contents(tmp_path) == {name: b'{"documents": 7}'}


def test_a_corpus_beside_other_files(tmp_path: Path) -> None:
    others = {"shard-1.parquet": b"x", "shard-00000.parquet.bak": b"y", "notes.txt": b"z"}
    for name, data in others.items():
        (tmp_path / name).write_bytes(data)
    motifs(tmp_path, graphs=20)
    motifs(tmp_path, graphs=30, overwrite=True)
    assert {name: contents(tmp_path)[name] for name in others} == others


def test_an_unfinished_build_of_ours_is_replaced(tmp_path: Path) -> None:
    motifs(tmp_path, graphs=20)
    (tmp_path / "corpus.json").unlink()
    with pytest.raises(RequestError, match=r"holds other things \(shard-00000.parquet\), no corpus of distgnn"):
        motifs(tmp_path, graphs=20)
    (tmp_path / STATE).write_text(json.dumps({"fingerprint": "another"}))
    motifs(tmp_path, graphs=20)
    assert sorted(contents(tmp_path)) == sorted(["corpus.json", *(f"shard-{i:05d}.parquet" for i in range(1))])


def test_a_network_is_not_written_over_files_of_others(tmp_path: Path) -> None:
    write_network(str(tmp_path / "n"))
    network = load_network(str(tmp_path / "n"))
    for name in ("indptr.npy", "features/paper.npy"):
        target = tmp_path / name.replace("/", "-")
        (target / name).parent.mkdir(parents=True)
        (target / name).write_text("mine")
        with pytest.raises(RequestError, match=rf"holds other things \({name}\), no network of distgnn"):
            save_network(network, str(target), overwrite=True)
        assert contents(target) == {name: b"mine"}
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "network.json").write_text("[]")
    with pytest.raises(RequestError, match=r"not the manifest of a network, so it is not overwritten"):
        save_network(network, str(tmp_path / "o"), overwrite=True)
    save_network(network, str(tmp_path / "n"), overwrite=True)
    assert CLAIM not in contents(tmp_path / "n")


def test_claims(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    claim(folder, ["a", "b/c"], "thing")
    assert claimed(folder) == {"a", "b/c"}
    folder.write("a", b"")
    claim(folder, ["a"], "thing")  # ours: an earlier command did not finish it
    settle(folder)
    with pytest.raises(RequestError, match=r"holds other things \(a\), no thing of distgnn"):
        claim(folder, ["a"], "thing")
    for text in (b"{", b"[1]", b'{"format": "x", "files": ["a"]}', b'{"files": 3}'):
        folder.write(CLAIM, text)
        assert claimed(folder) == set()
        settle(folder)
        with pytest.raises(RequestError, match=r"_unfinished.json: not a claim of distgnn"):
            claim(folder, ["d"], "thing")
        assert folder.read(CLAIM) == text


def killed_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let the change number ``count`` of a file, counted from 1, raise KeyboardInterrupt instead."""
    left, changes = count, {name: getattr(Folder, name) for name in ("write", "delete")}

    def changing(change: Any) -> Any:
        def changed(folder: Folder, name: str, *data: Any) -> None:
            nonlocal left
            left -= name != LOCK
            if left <= 0 and name != LOCK:
                raise KeyboardInterrupt
            change(folder, name, *data)

        return changed

    for name, change in changes.items():
        monkeypatch.setattr(Folder, name, changing(change))


@pytest.mark.parametrize("before", [0, 90])
@pytest.mark.parametrize("again", [True, False])
def test_a_build_that_is_killed_at_any_change_is_made_again(tmp_path: Path, before: int, again: bool) -> None:
    """With --overwrite over a larger corpus, or not, and again with or without it; nothing of the old one stays."""
    options: dict[str, Any] = {"unit_rows": 8, "shard_rows": 16}
    motifs(tmp_path / "whole", graphs=40, **options)
    folder, expected = open_folder(str(tmp_path / "killed")), contents(tmp_path / "whole")
    count = 0
    if before:
        motifs(tmp_path / "old", graphs=before, **options)
    for count in range(1, 40):
        shutil.rmtree(folder.path, ignore_errors=True)
        if before:
            shutil.copytree(tmp_path / "old", folder.path)
        with pytest.MonkeyPatch.context() as patch:
            killed_at(patch, count)
            try:
                motifs(folder.path, graphs=40, overwrite=bool(before), **options)
                break
            except KeyboardInterrupt:
                pass
        exists = folder.size("corpus.json") is not None
        if exists and not (before and again):
            with pytest.raises(RequestError, match="already exists"):
                motifs(folder.path, graphs=40, **options)
        else:
            motifs(folder.path, graphs=40, overwrite=again and bool(before), **options)
        found = contents(Path(folder.path))
        assert found == expected or (exists and found == contents(tmp_path / "old")), count
    assert count > (12 if before else 6)


def test_a_network_that_is_killed_at_any_change_is_made_again(tmp_path: Path) -> None:
    write_network(str(tmp_path / "n"))
    network, count = load_network(str(tmp_path / "n")), 0
    for count in range(1, 40):
        folder = open_folder(str(tmp_path / str(count)))
        with pytest.MonkeyPatch.context() as patch:
            killed_at(patch, count)
            try:
                save_network(network, folder.uri)
                break
            except KeyboardInterrupt:
                pass
        if folder.size("network.json") is not None:
            with pytest.raises(RequestError, match="already exists"):
                save_network(network, folder.uri)
        else:
            save_network(network, folder.uri)
        assert contents(Path(folder.path)) == contents(tmp_path / "n"), count
    assert count > 6


PLANTED: dict[str, dict[str, Any]] = {
    "config.json": {"architectures": ["BertModel"]},
    "results.json": {"mine": 1},
    "table.md": {},
    "models": {},
}


@pytest.mark.parametrize("name", PLANTED)
def test_results_are_not_written_over_those_of_others(tmp_path: Path, name: str) -> None:
    corpus, out = write(str(tmp_path / "c")), tmp_path / "out"
    out.mkdir()
    (out / name).write_text(json.dumps(PLANTED[name]))
    before = contents(out)
    small: dict[str, Any] = {"seeds": 1, "epochs": 1, "out": str(out), "device": "cpu"}
    split = {"method": "random"}
    encoder = {"layers": 1, "width": 4}
    with pytest.raises(RequestError, match=r"other things|is that of another command"):
        dg.finetune(corpus=corpus, encoder=encoder, split=split, **small)
    with pytest.raises(RequestError, match=r"other things|is that of another command"):
        dg.transfer(data=corpus, corpus={"encoder": encoder, "split": split}, **small)
    assert contents(out) == before


def test_a_run_is_no_place_for_results(corpus: str, tmp_path: Path) -> None:
    run = train_small(small(corpus, tmp_path, max_steps=1))
    before = run.folder.read("config.json")
    with pytest.raises(RequestError, match=r"config.json: is that of another command"):
        dg.finetune(corpus=write(str(tmp_path / "c")), out=run.folder.uri)
    assert run.folder.read("config.json") == before


@pytest.mark.parametrize("name", ["progress.json", "history", "checkpoints"])
def test_a_run_is_not_begun_among_files_of_others(corpus: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "run" / name).mkdir(parents=True)
    (tmp_path / "run" / name / "000000009.jsonl").write_text("mine")
    with pytest.raises(RequestError, match=rf"run: the folder holds other things \({name}\)"):
        dg.pretrain(small(corpus, tmp_path, max_steps=1))
    assert contents(tmp_path) == {f"run/{name}/000000009.jsonl": b"mine"}


def test_a_run_has_a_folder_of_its_own(corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (".", ".."):
        assert main(["pretrain", "--corpus", corpus, "--out", str(tmp_path / "x"), "--name", name]) == 2
        assert "name must be that of a folder of its own" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_two_runs_at_once(corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def second(*_: object) -> None:
        monkeypatch.undo()
        for start in (lambda: dg.pretrain(small(corpus, tmp_path)), lambda: dg.resume(str(tmp_path / "run"))):
            with pytest.raises(RequestError) as caught:
                start()
            said.append(str(caught.value))

    monkeypatch.setattr("distgnn.api.pretrain.pretrain_here", second)
    dg.pretrain(small(corpus, tmp_path, max_steps=1))
    assert len(said) == 2
    assert all("another command writes here (" in line for line in said)
    assert dg.resume(str(tmp_path / "run")).status == "finished"


def test_an_earlier_evaluation_is_replaced_but_nothing_else(tmp_path: Path) -> None:
    folder: Folder = open_folder(str(tmp_path))
    check_results(folder, "results.json", "models", {"predictions.parquet"})
    folder.write("results.json", b'{"models": []}')
    folder.write("predictions.parquet", b"")
    check_results(folder, "results.json", "models", {"predictions.parquet"})
    for text in (b"[]", b"{", b'{"a": 1}'):
        folder.write("results.json", text)
        with pytest.raises(RequestError, match="is not that of this command"):
            check_results(folder, "results.json", "models", set())
    folder.delete("results.json")
    with pytest.raises(RequestError, match=r"other things \(predictions.parquet\)"):
        check_results(folder, "results.json", "models", {"predictions.parquet"})

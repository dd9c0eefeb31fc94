"""push and pull: verified copies, never over something else, and a cache keyed by content."""

from __future__ import annotations

from pathlib import Path

import pytest

from distgnn.engine import hub
from distgnn.engine.checkpoint import load_checkpoint, newest
from distgnn.engine.pretrained import load_encoder
from distgnn.engine.run import Run
from distgnn.engine.sealed import CHECKSUMS
from distgnn.errors import RequestError
from tests.corpora import contents
from tests.training import small, train_small


@pytest.fixture(scope="module")
def runs(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    out = tmp_path_factory.mktemp("runs")
    return [train_small(small(corpus, out, f"seed{seed}", max_steps=2, seed=seed)) for seed in (0, 1)]


def source(run: Run) -> Path:
    found = newest(run.folder)
    assert found is not None
    return Path(found.path)


def test_push_then_pull(runs: list[Run], tmp_path: Path) -> None:
    there = hub.push(runs[0].folder.uri, str(tmp_path / "a" / "b"))
    back = hub.pull(there, str(tmp_path / "back"))
    assert contents(Path(back)) == contents(source(runs[0]))
    assert hub.push(runs[0].folder.uri, there) == there
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "back"]


def test_another_checkpoint_or_other_files_are_not_overwritten(runs: list[Run], tmp_path: Path) -> None:
    target = tmp_path / "target"
    hub.push(runs[0].folder.uri, str(target))
    before = contents(target)
    with pytest.raises(RequestError, match="another checkpoint is already there"):
        hub.push(runs[1].folder.uri, str(target))
    assert contents(target) == before
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RequestError, match=r"holds other things \(target\)"):
        hub.pull(runs[0].folder.uri, str(tmp_path))


def test_an_unfinished_copy_is_finished(runs: list[Run], tmp_path: Path) -> None:
    hub.push(runs[0].folder.uri, str(tmp_path / "x"))
    (tmp_path / "x" / CHECKSUMS).unlink()
    hub.push(runs[1].folder.uri, str(tmp_path / "x"))
    assert contents(tmp_path / "x") == contents(source(runs[1]))


def test_a_damaged_source_is_not_copied(runs: list[Run], tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    hub.push(runs[0].folder.uri, str(bad))
    (bad / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(RequestError, match="wrong checksum"):
        hub.pull(str(bad), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


def test_cache(runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGNN_CACHE", str(tmp_path / "cache"))
    first, second = (hub.pull(run.folder.uri) for run in runs)
    assert first != second
    assert hub.pull(str(source(runs[0]))) == first
    assert len(list((tmp_path / "cache").iterdir())) == 2
    (Path(first) / "card.md").write_text("damaged")
    assert hub.pull(runs[0].folder.uri) == first
    assert contents(Path(first)) == contents(source(runs[0]))


def test_object_store(runs: list[Run], tmp_path: Path, s3: str) -> None:
    target = f"{s3}/model"
    assert hub.push(runs[0].folder.uri, target) == target
    assert load_checkpoint(target).step == 2
    assert load_encoder(target).width == 12
    assert contents(Path(hub.pull(target, str(tmp_path / "home")))) == contents(source(runs[0]))
    with pytest.raises(RequestError, match="another checkpoint"):
        hub.push(runs[1].folder.uri, target)


def test_a_run_on_an_object_store(corpus: str, s3: str) -> None:
    run = train_small(small(corpus, s3, max_steps=3, checkpoint_every=1, keep=1))
    assert run.folder.sub("checkpoints").names() == ["step-000000003"]
    assert load_checkpoint(run.folder.uri).step == 3

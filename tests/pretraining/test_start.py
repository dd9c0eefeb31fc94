"""Starting a run reads the manifest once, builds the training state once, and does not hash what it has just written."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distgnn.checkpoint import training_state
from distgnn.checkpoint.format import FILES, load_checkpoint
from distgnn.cli import main
from distgnn.config import to_json
from distgnn.errors import RequestError
from distgnn.objectives.attrmasking import MaskingConfig
from distgnn.pretraining.local import pretrain_here
from distgnn.pretraining.run import new_run, new_start, resumed_start
from distgnn.search import trial
from distgnn.storage.environment import read_data
from distgnn.storage.folder import Folder, open_folder
from tests.helpers.training import small, train_small

Counted = Callable[[Callable[[], object]], Counter[str]]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Counts, by name, the files read, the bytes hashed ("sha256") and the states built ("state") in a call."""
    found: Counter[str] = Counter()
    read, real, build = Folder.read, hashlib.sha256, training_state.build_encoder

    def reading(folder: Folder, name: str, limit: int = 0) -> bytes:
        found[name.rpartition("/")[2]] += 1
        return read(folder, name, limit)

    def hashing(data: bytes = b"", **options: Any) -> Any:
        found["sha256"] += len(data)
        return real(data, **options)

    def building(*values: Any) -> Any:
        found["state"] += 1
        return build(*values)

    monkeypatch.setattr(Folder, "read", reading)
    monkeypatch.setattr(hashlib, "sha256", hashing)
    monkeypatch.setattr(training_state, "build_encoder", building)

    def count(work: Callable[[], object]) -> Counter[str]:
        found.clear()
        work()
        return Counter(found)

    return count


def words(corpus: str, out: Path, *more: str) -> list[str]:
    """A command of four steps and two checkpoints."""
    text = f"--corpus {corpus} --out {out} --name run --objective edgepred --encoder.layers 2 --encoder.width 8"
    text += " --train.max-steps 4 --train.checkpoint-every 2 --train.device cpu --train.streams 2"
    return ["pretrain", *text.split(), *more]


def checkpoint_bytes(run: Path) -> int:
    return sum((path / name).stat().st_size for path in (run / "checkpoints").iterdir() for name in FILES)


def test_a_command_reads_the_manifest_once_and_hashes_what_it_writes_once(
    corpus: str, tmp_path: Path, counted: Counted
) -> None:
    found = counted(lambda: main(words(corpus, tmp_path)))
    written, manifest = checkpoint_bytes(tmp_path / "run"), (Path(corpus) / "corpus.json").stat().st_size
    assert found["corpus.json"] == 1
    assert found["state"] == 1
    assert found["model.safetensors"] == found["state.safetensors"] == 0
    assert written <= found["sha256"] <= written + 6 * manifest  # the manifest's digest is part of each checkpoint


def test_a_resume_reads_and_hashes_the_newest_checkpoint_once(corpus: str, tmp_path: Path, counted: Counted) -> None:
    assert main(words(corpus, tmp_path)) == 0
    found = counted(lambda: main(["pretrain", "--resume", str(tmp_path / "run")]))
    one = checkpoint_bytes(tmp_path / "run") / 2
    assert found["model.safetensors"] == found["state.safetensors"] == 1
    assert found["corpus.json"] == 2, "the corpus's own and the checkpoint's"
    assert found["state"] == 1
    assert 0.9 * one <= found["sha256"] <= 1.3 * one
    assert list(read_data(open_folder(str(tmp_path / "run")))) == [corpus], "kept when the run is resumed"


def test_the_batch_size_finder_uses_the_open_corpus(corpus: str, tmp_path: Path, counted: Counted) -> None:
    config = small(corpus, tmp_path, graphs_per_stream=0, max_steps=1)
    assert counted(lambda: pretrain_here(new_start(config)))["corpus.json"] == 1


def test_init_is_read_once_and_the_first_checkpoint_not_at_all(corpus: str, tmp_path: Path, counted: Counted) -> None:
    first = train_small(small(corpus, tmp_path, "first", max_steps=2))
    config = replace(small(corpus, tmp_path, "second", max_steps=2), init=first.folder.uri)
    found = counted(lambda: pretrain_here(new_start(config)))
    assert found["model.safetensors"] == found["config.json"] == 1
    assert found["state.safetensors"] == 0
    assert found["state"] == 1
    again = train_small(replace(config, name="third"))  # every rank reads the first checkpoint, as under Ray
    actual, expected = load_checkpoint(str(tmp_path / "second")), load_checkpoint(again.folder.uri)
    assert all(actual.model[name].equal(expected.model[name]) for name in actual.model)


def test_a_rung_of_a_sweep_does_not_hash_its_checkpoint(corpus: str, tmp_path: Path, counted: Counted) -> None:
    run = new_run(small(corpus, tmp_path, max_steps=4))
    found = counted(lambda: trial.pretrain_here(run, 2))
    own = Counter(found)
    search = trial.Trial.__new__(trial.Trial)
    rung = counted(lambda: search._trained(run, 2, trial.pretrain_here))
    assert own["model.safetensors"] == 0
    assert not rung["sha256"]
    assert not rung["model.safetensors"]


def test_missing_features_are_refused_before_the_folder_is_created(corpus: str, tmp_path: Path) -> None:
    options = {"attrmasking": MaskingConfig("edge")}
    config = replace(small(corpus, tmp_path), objective="attrmasking", options=options)
    with pytest.raises(RequestError, match="attrmasking"):
        new_start(config)
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_start_has_the_config_of_the_run(corpus: str, tmp_path: Path) -> None:
    run = train_small(small(corpus, tmp_path, max_steps=1))
    start = resumed_start(run.folder.uri, run.config)
    assert start.run == run
    assert start.state is None
    assert json.loads(run.folder.read("config.json")) == to_json(start.run.config)

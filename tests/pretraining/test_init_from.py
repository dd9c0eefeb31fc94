"""Runs initialized from another run's encoder; incompatible requests leave no folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import distgnn
from distgnn.checkpoint.cost import pretraining_cost
from distgnn.checkpoint.format import FOLDER, load_checkpoint, newest
from distgnn.checkpoint.training_state import make_state, strip
from distgnn.cli import main
from distgnn.config import PretrainConfig
from distgnn.corpus.manifest import read_manifest
from distgnn.errors import RequestError
from distgnn.pretraining.run import CONFIG, Run, new_run
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.verified import CHECKSUMS
from tests.helpers.corpora import motifs
from tests.helpers.labelled import write_labelled
from tests.helpers.training import CPU, continue_small, losses, small, train_small

QUICK: dict[str, Any] = {"max_steps": 4, "validate_every": 0}


@pytest.fixture(scope="module")
def first(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A self-supervised run."""
    return train_small(small(corpus, tmp_path_factory.mktemp("first"), objective="edgepred", **QUICK))


def second(first: Run, out: Path, name: str = "second", **options: Any) -> PretrainConfig:
    config = small(first.config.corpus, out, name, objective="supervised", **(QUICK | options))
    return replace(config, init=first.folder.uri)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_starts_from_exactly_those_weights(first: Run, tmp_path: Path) -> None:
    run, source = new_run(second(first, tmp_path)), load_checkpoint(first.folder.uri)
    started = load_checkpoint(run.folder.uri)
    assert started.step == 0
    assert_same(strip(started.model, "encoder"), strip(source.model, "encoder"))
    fresh = make_state(run.config, started.schema, CPU)
    assert_same(strip(started.model, "objective"), strip(fresh.model_tensors(), "objective"))
    assert_same(started.optimiser, fresh.optimiser_tensors())
    assert run.config.init == source.uri, "the checkpoint itself, not only its run"
    assert f"starting from the encoder of {source.uri}" in (Path(started.uri) / "card.md").read_text()


def test_its_cost_includes_that_of_the_run_it_starts_from(first: Run, tmp_path: Path) -> None:
    source = Path(shutil.copytree(first.folder.path, tmp_path / "source"))
    run = train_small(replace(second(first, tmp_path), init=str(source)))
    own, before = (load_checkpoint(uri).state.metrics["cost"] for uri in (run.folder.uri, str(source)))
    assert pretraining_cost(run.folder.uri) == {name: own[name] + before[name] for name in ("graphs", "cpu_seconds")}
    shutil.rmtree(source)
    assert pretraining_cost(run.folder.uri) == {}


def test_initial_weights_matter_and_are_the_same_on_all_ranks(first: Run, tmp_path: Path) -> None:
    one, two = (train_small(second(first, tmp_path, f"r{ranks}"), ranks) for ranks in (1, 2))
    blank = train_small(replace(second(first, tmp_path, "blank"), init=""))
    assert losses(one) == pytest.approx(losses(two), rel=1e-4)
    assert losses(one)[1] != pytest.approx(losses(blank)[1], rel=1e-3)


def test_the_control_keeps_the_encoder(first: Run, tmp_path: Path) -> None:
    run = train_small(replace(second(first, tmp_path), objective="none"))
    found, source = load_checkpoint(run.folder.uri), load_checkpoint(first.folder.uri)
    assert_same(found.model, strip_objective(source.model))


def strip_objective(model: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.items() if not name.startswith("objective.")}


@pytest.mark.parametrize("stop_after", [1, 3])
def test_resumes_after_the_first_run_is_gone(first: Run, tmp_path: Path, stop_after: int) -> None:
    """stop_after=1: before its first step."""
    copy = Path(shutil.copytree(first.folder.path, tmp_path / "copy"))
    config = replace(second(first, tmp_path), init=str(copy))
    whole = train_small(replace(config, name="whole"))
    run = train_small(config, stop_after=stop_after)
    shutil.rmtree(copy)
    assert continue_small(run) == "finished"
    assert losses(run)[4] == losses(whole)[4]
    ends = [load_checkpoint(one.folder.uri).model for one in (run, whole)]
    assert_same(*ends)


def test_a_lost_first_checkpoint_is_an_error(first: Run, tmp_path: Path) -> None:
    run = new_run(second(first, tmp_path))
    run.folder.delete_folder(FOLDER)
    with pytest.raises(RequestError, match="the checkpoint it started from is gone; start a new run"):
        continue_small(run)


def refused(config: PretrainConfig, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        new_run(config)
    assert "\n" not in str(caught.value)
    assert not (Path(config.out) / config.name).exists()


def test_another_encoder_is_refused(first: Run, tmp_path: Path) -> None:
    config = second(first, tmp_path)
    wider = replace(config, encoder=replace(config.encoder, width=16, norm="layer"))
    refused(wider, r"init .*step-0.*: trained with another encoder; set encoder.width=12, encoder.norm=ghost$")


def test_other_features_are_refused(first: Run, tmp_path: Path) -> None:
    write_labelled(str(tmp_path / "other"), torch.ones(8, 1).numpy(), ("easy",))
    refused(
        replace(second(first, tmp_path), corpus=str(tmp_path / "other")), r"init .*: node features differ: expected"
    )


def test_a_missing_checkpoint_is_refused(first: Run, tmp_path: Path) -> None:
    refused(replace(second(first, tmp_path), init=str(tmp_path / "nowhere")), "no complete checkpoint here")


def test_checkpoints_without_a_run_are_not_overwritten(first: Run, tmp_path: Path) -> None:
    config = second(first, tmp_path)
    new_run(config)
    (tmp_path / config.name / "config.json").unlink()
    with pytest.raises(RequestError, match="checkpoints: not empty, though no run is here"):
        new_run(config)
    assert newest(open_folder(str(tmp_path)).sub(config.name)) is not None


def test_an_invalid_objective_is_refused_before_the_folder_is_created(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    motifs(tmp_path / "corpus", graphs=40)
    words = ["--corpus", str(tmp_path / "corpus"), "--out", str(tmp_path / "runs"), "--objective", "supervised"]
    assert read_manifest(open_folder(str(tmp_path / "corpus"))).schema.labels
    assert main(["pretrain", *words, "--supervised.labels", "toxic"]) == 2
    assert "no label column 'toxic'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("remote", [False, True])
def test_a_start_that_was_killed_is_made_again(
    first: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: bool, request: pytest.FixtureRequest
) -> None:
    """Killed at the first and last writes of the start, at the config, and at the write after it."""
    out = request.getfixturevalue("s3") if remote else str(tmp_path)
    config, write, left = replace(second(first, tmp_path), out=out), Folder.write, 0

    def killed(folder: Folder, name: str, data: bytes) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        write(folder, name, data)

    run = open_folder(out).sub("second")
    for count in (2, 8, 9, 10):
        left = count
        monkeypatch.setattr(Folder, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            distgnn.pretrain(config)
        monkeypatch.setattr(Folder, "write", write)
        assert (newest(run) is None) == (CHECKSUMS not in "".join(run.files()))
        assert (run.size(CONFIG) is None) == (count < 10)
    assert distgnn.resume(run.uri).status == "finished"
    assert "_unfinished.json" not in run.names()


def test_checkpoints_of_others_are_no_start(first: Run, tmp_path: Path) -> None:
    """A claim covers the files of the start only."""
    theirs = tmp_path / "second" / "checkpoints" / "step-000000000" / "model.safetensors"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    with pytest.raises(RequestError, match=r"holds other things \(checkpoints\)"):
        distgnn.pretrain(second(first, tmp_path))
    claim = {"format": "distgnn-claim", "files": ["checkpoints/step-000000000/notes", "config.json"]}
    (tmp_path / "second" / "_unfinished.json").write_text(json.dumps(claim))
    with pytest.raises(RequestError, match="holds other things"):
        distgnn.pretrain(second(first, tmp_path))
    assert theirs.read_text() == "theirs"

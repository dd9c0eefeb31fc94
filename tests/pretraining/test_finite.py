"""Non-finite weights: no checkpoint, no status "finished", and earlier checkpoints are kept."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import distgnn as dg
from distgnn.auxiliary.trainer import check_weights_finite
from distgnn.checkpoint.adam import Adam
from distgnn.checkpoint.format import FOLDER, check_finite_weights, load_checkpoint, newest, seal
from distgnn.checkpoint.training_state import make_state
from distgnn.cli import main
from distgnn.config import FinetuneConfig, TuneConfig
from distgnn.corpus.reader import CorpusReader
from distgnn.distributed import ProcessGroup
from distgnn.errors import DivergedError, RequestError
from distgnn.pretraining.step import check_agreement, check_last_steps
from distgnn.search.records import Rung, Sweep, best_of
from distgnn.storage.verified import CHECKSUMS
from tests.helpers.corpora import contents
from tests.helpers.sweeps import trial
from tests.helpers.training import CPU, small, train_small
from tests.helpers.transfers import write

SMALL = ["--encoder.layers=1", "--encoder.width=8", "--train.graphs-per-stream=4", "--train.device=cpu"]


def test_a_diverged_run_exits_with_1_and_writes_no_checkpoint(
    corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pretrain", "--corpus", corpus, "--out", str(tmp_path), "--name", "r", *SMALL]
    assert main([*words, "--train.max-steps=2", "--train.lr=1e308"]) == 1
    assert "is not finite, so no checkpoint is written; lower train.lr (now 1e+308)" in capsys.readouterr().err
    assert json.loads((tmp_path / "r" / "progress.json").read_text())["status"] == "failed"
    assert not (tmp_path / "r" / FOLDER).exists()


def test_finite_checkpoints_are_kept(corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Adam.step

    def break_at_4(optimiser: Adam) -> None:
        step(optimiser)
        parameter = optimiser.param_groups[0]["params"][0]
        if int(optimiser.state[parameter]["step"]) == 4:
            parameter.data[0] = float("inf")

    monkeypatch.setattr(Adam, "step", break_at_4)
    config = small(corpus, tmp_path, checkpoint_every=2, keep=1, max_steps=8)
    with pytest.raises(DivergedError, match="the last good checkpoint is checkpoints/step-000000002"):
        train_small(config)
    assert sorted(path.name for path in (tmp_path / "run" / FOLDER).iterdir()) == ["step-000000002"]
    assert load_checkpoint(str(tmp_path / "run")).step == 2


@pytest.mark.parametrize("part", ["encoder", "objective"])
def test_running_statistics_and_objectives_are_checked(corpus: str, part: str) -> None:
    state = make_state(small(corpus, "unused", objective="infomax"), CorpusReader(corpus).manifest.schema, CPU)
    assert state.freeze().damaged == ""
    assert state.objective is not None
    buffers = {f"encoder.{name}": buffer for name, buffer in state.encoder.named_buffers() if "running_var" in name}
    weights = {f"objective.{name}": weight for name, weight in state.objective.named_parameters()}
    name, tensor = next(iter((buffers if part == "encoder" else weights).items()))
    tensor.data.fill_(float("nan"))
    assert state.freeze().damaged == name


def test_a_run_whose_last_steps_were_skipped_is_not_finished(corpus: str) -> None:
    state = make_state(small(corpus, "unused"), CorpusReader(corpus).manifest.schema, CPU)
    check_last_steps(state, 0.1)
    check_agreement(state, ProcessGroup.single_process(CPU))
    state.skipped = 3
    with pytest.raises(DivergedError, match=r"not finite in the last 3 steps; lower train.lr \(now 0.1\)"):
        check_last_steps(state, 0.1)
    next(iter(state.encoder.parameters())).data.fill_(float("nan"))
    with pytest.raises(DivergedError, match="a weight is not finite"):
        check_agreement(state, ProcessGroup.single_process(CPU))


def test_a_checkpoint_of_an_earlier_version_is_refused(corpus: str, tmp_path: Path) -> None:
    run = train_small(small(corpus, tmp_path, max_steps=1))
    folder = newest(run.folder)
    assert folder is not None
    files = contents(Path(folder.path))
    del files[CHECKSUMS]
    tensors = safetensors.torch.load(files["model.safetensors"])
    name = next(name for name in tensors if name.endswith(".weight"))
    tensors[name][0] = float("nan")
    files["model.safetensors"] = safetensors.torch.save(tensors)
    for file, data in {**files, CHECKSUMS: seal(files)}.items():
        folder.write(file, data)
    for load in (load_checkpoint, dg.load_encoder):
        with pytest.raises(RequestError, match=f"weight {name} is not finite, the training diverged"):
            load(folder.uri)


def test_non_finite_running_statistics_of_trainings_on_labels() -> None:
    module = nn.BatchNorm1d(2)
    check_weights_finite(module, "epoch 1", 0.1)
    check_finite_weights(module.state_dict(), "m")
    assert module.running_var is not None
    module.running_var[0] = float("inf")
    with pytest.raises(DivergedError, match=r"epoch 1: weight running_var is not finite; lower lr \(now 0.1\)"):
        check_weights_finite(module, "epoch 1", 0.1)
    with pytest.raises(RequestError, match=r"m: weight n.running_var is not finite"):
        check_finite_weights({f"n.{name}": tensor for name, tensor in module.state_dict().items()}, "m")


def test_fine_tuning_with_a_rate_that_is_too_high(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "finetune",
        "--corpus",
        write(str(tmp_path / "c")),
        "--out",
        str(tmp_path / "f"),
        "--seeds=1",
        "--epochs=1",
    ]
    more = ["--batch=64", "--lr=1e308", "--split.method=random", "--device=cpu", "--save-models"]
    assert main([*words, *more, "--encoder.layers=1", "--encoder.width=8"]) == 1
    assert "is not finite; lower lr (now 1e+308)" in capsys.readouterr().err
    assert not list((tmp_path / "f").rglob("*.safetensors"))


def test_no_winner_without_a_finite_score() -> None:
    config = TuneConfig(finetune=FinetuneConfig(corpus="x", checkpoint=("y",)), space=("finetune.lr=log(1e-4,1e-1)",))
    sweep = Sweep(config, "auc", "max", (10,), {}, {}, 2, 0.0)
    nan, good = (trial(number, rungs=(Rung(10, score, 1.0),)) for number, score in enumerate((math.nan, 0.5)))
    assert best_of(sweep, [nan]) is None
    assert best_of(sweep, [nan, good]) == good
    assert best_of(replace(sweep, mode="min"), [good, nan]) == good


def test_a_run_without_memory_fails_in_one_line(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("distgnn.pretraining.loop.outer_step", full)
    words = ["pretrain", "--corpus", corpus, "--out", str(tmp_path), "--name", "r", "--train.max-steps=1"]
    assert main([*words, *SMALL]) == 1
    assert "error: out of memory (CUDA out of memory. Tried to allocate 2.00 GiB)" in capsys.readouterr().err
    progress = json.loads((tmp_path / "r" / "progress.json").read_text())
    assert (progress["status"], progress["error"][:13]) == ("failed", "out of memory")

"""User encoders from the command line: imported only if --imports names their module."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

import distgnn
from distgnn import register
from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.auxiliary.jobs import RunJob
from distgnn.cli import main
from distgnn.config import EncoderConfig, FinetuneConfig, SplitConfig
from distgnn.corpus.reader import CorpusReader
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.finetuning.comparison import finetune_job, finetune_source
from distgnn.labels.dataset import load_labelled
from distgnn.scale.train.pretrain_rank import train_worker
from distgnn.storage.folder import open_folder
from tests.helpers.custom import WIDTH
from tests.helpers.graphs import random_graphs


def written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a module to ``folder`` that registers the encoder "filed" on import."""
    name = f"encoders_of_{folder.name}"
    text = "import distgnn\nfrom tests.helpers.custom import gin_stack\ndistgnn.register_encoder('filed', gin_stack)\n"
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    return name


def forget(name: str) -> None:
    """Remove the module and its registration."""
    register.encoder.forget_users()
    sys.modules.pop(name, None)


def test_from_the_command_line(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, run = written(tmp_path, monkeypatch), str(tmp_path / "runs/one")
    words = f"pretrain --corpus {corpus} --out {tmp_path}/runs --name one --encoder.kind filed --encoder.width 6"
    small = "--train.streams 2 --train.max-steps 3 --train.checkpoint-minutes 0 --train.device cpu"
    assert main([*words.split(), *small.split()]) == 2
    assert "encoder.kind='filed' is unknown (there are gat, gcn, gin, sage)" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert main([*words.split(), *small.split(), "--imports", name]) == 0
    encoder = distgnn.load_encoder(run)
    assert encoder(random_graphs([3, 4], CorpusReader(corpus).manifest.schema)).graphs.shape == (2, 6)

    forget(name)
    with pytest.raises(
        RequestError,
        match=r"encoder.kind='filed' is unknown .* name the module that registers it in imports .--imports.",
    ):
        distgnn.load_encoder(run)
    assert main(["pretrain", "--resume", run]) == 2
    assert name not in sys.modules, "a run folder names no code to run"
    assert main(["pretrain", "--resume", run, "--imports", name]) == 0

    forget(name)
    saved = json.loads((tmp_path / "runs/one/config.json").read_text())
    worker = {"folder": run, "config": saved, "reader": CorpusReader(corpus)}
    train_worker(worker, ProcessGroup.single_process(torch.device("cpu")))
    assert register.encoder.find("filed")

    forget(name)
    words = f"finetune --corpus {corpus} --checkpoint {run} --out {tmp_path}/table --seeds 1 --epochs 1 --device cpu"
    words += " --split.method random"
    assert main(words.split()) == 2
    assert main([*words.split(), "--imports", name]) == 0


def test_remote_jobs_import_the_module(corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = written(tmp_path, monkeypatch)
    config = FinetuneConfig(corpus, imports=(name,), seeds=1, epochs=1, split=SplitConfig("random"))
    start = InitialEncoder("mine", EncoderConfig(kind="filed", width=WIDTH))
    source = finetune_source(config, load_labelled(config), [start])
    found = RunJob(source, open_folder(str(tmp_path / "jobs")))(finetune_job(source, 0, 0))
    assert found is not None
    assert 0 <= found.scores["test"]["roc_auc"] <= 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("no_such_module", "imports: 'no_such_module' cannot be imported"),
        ("a/b", "is not a dotted name of a Python module"),
    ],
)
def test_missing_imports_are_rejected(
    given: str, message: str, corpus: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", "--corpus", corpus, "--imports", given]) == 2
    assert message in capsys.readouterr().err

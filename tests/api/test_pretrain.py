"""Pre-training through the Python API."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import distgnn as dg
from tests.helpers.training import SMALL_ENCODER

SMALL: dict[str, Any] = {
    "encoder": SMALL_ENCODER,
    "train": {
        "max_steps": 4,
        "streams": 2,
        "graphs_per_stream": 4,
        "device": "cpu",
        "log_seconds": 0.0,
        "validate_every": 2,
    },
}


@pytest.fixture(scope="module")
def run(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> dg.Run:
    return dg.pretrain(corpus=corpus, out=tmp_path_factory.mktemp("api"), name="first", **SMALL)


def test_run(run: dg.Run) -> None:
    assert run.status == "finished"
    assert run.name == "first"
    assert run.checkpoint.startswith(run.uri)
    assert run.progress["step"] == 4


def test_table_has_a_row_for_each_interval_and_validation(run: dg.Run) -> None:
    assert run.table["step"].is_monotonic_increasing
    assert run.table["step"].iloc[-1] == 4
    assert {"loss", "lr", "validation_loss"} <= set(run.table.columns)


def test_plot_draws_training_and_validation_loss(run: dg.Run) -> None:
    assert [line.get_label() for line in run.plot().axes[0].lines] == ["loss", "validation loss"]


def test_html_is_escaped(run: dg.Run) -> None:
    assert "<td>finished</td>" in run._repr_html_()
    named = dg.Run(run.folder.sub("<b>"), run.config)
    with pytest.raises(dg.RequestError):
        named._repr_html_()


def test_open_and_load_encoder(run: dg.Run, corpus: str) -> None:
    opened = dg.Run.open(run.uri)
    assert opened.config == run.config
    nodes, graphs = opened.load_encoder()(dg.Corpus(corpus)[0])
    assert nodes.shape[1] == graphs.shape[1] == SMALL_ENCODER.width


def test_config_object_and_options_are_the_same(corpus: str, run: dg.Run, tmp_path: Path) -> None:
    config = dg.PretrainConfig(corpus, encoder=SMALL_ENCODER, train=dg.TrainConfig(**SMALL["train"]))
    again = dg.pretrain(config, out=tmp_path, name="again")
    actual, expected = (dg.load_checkpoint(one.checkpoint).model for one in (run, again))
    assert all(torch.equal(actual[name], expected[name]) for name in actual)


def test_resume(corpus: str, tmp_path: Path) -> None:
    run = dg.pretrain(corpus=corpus, out=tmp_path, name="r", **SMALL)
    assert dg.resume(run.uri).status == "finished"
    with pytest.raises(dg.RequestError, match="may change"):
        dg.resume(run.uri, train={"lr": 0.5})


def test_resume_or_new(corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command starts a run, continues it from its newest checkpoint, and is refused if its config differs."""
    monkeypatch.chdir(tmp_path)  # relative paths name the same run

    def again(steps: int, **changes: Any) -> dg.Run:
        options: dict[str, Any] = {
            **SMALL,
            "train": {**SMALL["train"], "max_steps": 4, "checkpoint_every": 2},
            **changes,
        }
        with monkeypatch.context() as patch:
            patch.setattr("distgnn.pretraining.loop.planned_steps", lambda *_: steps)
            return dg.pretrain(corpus=corpus, out="runs", name="r", resume_or_new=True, **options)

    assert again(2).progress["step"] == 2
    second = again(4)
    assert (second.status, second.progress["step"]) == ("finished", 4)
    assert [row["step"] for row in second.table[["step"]].to_dict("records")][-1] == 4
    with pytest.raises(dg.RequestError, match=r"objective='none' differs from the run's 'l2p'"):
        again(4, objective="none")
    with pytest.raises(dg.RequestError, match="needs the name of the run"):
        dg.pretrain(corpus=corpus, resume_or_new=True)


def test_resume_or_new_takes_what_the_run_resolved(corpus: str, run: dg.Run, tmp_path: Path) -> None:
    """The checkpoint that ``init`` stood for, and the batch size that was found."""
    first = dg.pretrain(corpus=corpus, out=tmp_path, name="r", init=run.uri, **SMALL)
    assert first.config.init == run.checkpoint
    request = replace(first.config, init=run.uri, train=replace(first.config.train, graphs_per_stream=0))
    again = dg.pretrain(replace(request, resume_or_new=True))
    assert replace(again.config, resume_or_new=False) == first.config
    with pytest.raises(dg.RequestError, match="init"):
        dg.pretrain(replace(request, resume_or_new=True, init=""))


def test_bad_requests_are_value_errors_of_one_line(corpus: str, tmp_path: Path) -> None:
    for options in ({"corpus": tmp_path}, {"corpus": corpus, "train": {"lr": -1.0}}, {"corpus": corpus, "speed": 1}):
        with pytest.raises(ValueError) as error:  # noqa: PT011
            dg.pretrain(out=tmp_path / "x", **options)
        assert isinstance(error.value, dg.DistgnnError)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "x").exists()

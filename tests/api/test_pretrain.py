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


def test_a_line_of_one_point_is_visible(run: dg.Run, tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "000000000.jsonl").write_text('{"step": 4, "loss": 1.0, "validation": {"loss": 2.0}}\n')
    lines = dg.Run(replace(run.folder, path=str(tmp_path), uri=str(tmp_path)), run.config).plot().axes[0].lines
    assert [line.get_marker() for line in lines] == ["o", "o"]
    assert [line.get_marker() for line in run.plot().axes[0].lines] == ["None", "o"]


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"epochs": 3},
            r"PretrainConfig.epochs: unknown field of PretrainConfig; did you mean epochs of the group train\?",
        ),
        ({"train.epochs": 3}, r"did you mean epochs of the group train\?"),
        ({"train": {"epoch": 3}}, r"PretrainConfig.train.epoch: .*; did you mean epochs\?"),
        ({"node_steps": 3}, r"did you mean node_steps of the group l2p\?"),
        ({"hidden": 3}, "unknown field of PretrainConfig; there are corpus, out, name"),
        ({}, "PretrainConfig.corpus: is missing; give it"),
    ],
)
def test_what_an_option_may_have_meant(options: dict[str, Any], message: str) -> None:
    with pytest.raises(dg.RequestError, match=message):
        dg.pretrain(**options)


def test_a_path_is_no_config(corpus: str) -> None:
    with pytest.raises(dg.RequestError, match=r"expected PretrainConfig, found str; .* such as corpus=\.\.\."):
        dg.pretrain(corpus)  # type: ignore[arg-type]


def test_paths_runs_and_corpora_stand_for_their_uris(corpus: str, run: dg.Run, tmp_path: Path) -> None:
    for given in (run, Path(run.uri), run.uri):
        assert dg.load_encoder(given).width == run.config.encoder.width
    assert dg.Run.open(Path(run.uri)) == run
    assert repr(run) == f"Run(folder=Folder({run.uri!r}))"
    again = dg.pretrain(corpus=dg.Corpus(corpus), out=tmp_path, name="again", init=run, **SMALL)
    assert (again.config.corpus, again.config.init) == (run.config.corpus, run.checkpoint)
    graphs = dg.Corpus(corpus)[:3]
    torch.testing.assert_close(dg.load_encoder(run)(graphs).graphs[:1], dg.load_encoder(run)(graphs[0]).graphs)


def test_a_run_that_failed_at_its_start_says_how_to_delete_it(tmp_path: Path) -> None:
    dg.build_corpus("motifs", graphs=40, unit_rows=8, out=tmp_path / "c")
    schema = replace(dg.Corpus(tmp_path / "c").schema, labels=("size",), group="", split=False, classes={})
    graphs = [graph.update({"y": torch.tensor([7.0])}) for graph in dg.Corpus(tmp_path / "c")]
    dg.write_corpus(graphs, tmp_path / "labelled", schema, unit_rows=8)
    options: dict[str, Any] = {"corpus": tmp_path / "labelled", "objective": "supervised", "out": tmp_path, "name": "a"}
    with pytest.raises(dg.RequestError, match="label 'size' is 7"):
        dg.pretrain(**options, **SMALL)
    with pytest.raises(
        dg.RequestError, match=f"failed before its first step; delete it .distgnn runs {tmp_path} --delete a"
    ):
        dg.pretrain(**options, **SMALL)

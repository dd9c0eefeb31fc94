"""Fine-tuning, evaluation and prediction through the Python API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import distgnn as dg
from distgnn.cli import main
from distgnn.config import from_json
from tests.helpers.transfers import write

SMALL: dict[str, Any] = {
    "encoder": {"layers": 2, "width": 8},
    "split": {"method": "random", "fractions": (0.6, 0.2, 0.2)},
    "seeds": 2,
    "epochs": 3,
    "batch": 16,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(str(tmp_path_factory.mktemp("api") / "labelled"))


@pytest.fixture(scope="module")
def checkpoint(labelled: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    train = {"max_steps": 1, "streams": 2, "graphs_per_stream": 4, "device": "cpu", "validation_fraction": 0.0}
    out = tmp_path_factory.mktemp("runs")
    return dg.pretrain(
        corpus=labelled, out=out, name="one", objective="edgepred", encoder=SMALL["encoder"], train=train
    ).uri


@pytest.fixture(scope="module")
def results(labelled: str, checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> dg.FinetuneResults:
    out = tmp_path_factory.mktemp("finetune")
    return dg.finetune(corpus=labelled, checkpoint=checkpoint, out=out, save_models=True, **SMALL)


def test_table_has_a_row_for_each_method_and_part(results: dg.FinetuneResults) -> None:
    assert list(results.table["method"]) == ["one", "none"]
    assert {"mean", "sd", "se", "gain", "p", "p_holm"} <= set(results.table.columns)
    scores = results.records.query("method == 'one' and part == 'test'")["value"]
    assert results.table["mean"].iloc[0] == pytest.approx(scores.mean())


def test_text_figure_and_html(results: dg.FinetuneResults) -> None:
    assert "none" in str(results)
    assert [axes.get_title() for axes in results.plot().axes] == ["test"]
    assert "<table" in results._repr_html_()
    assert results.to_json()["metric"] == "roc_auc"
    low, high = results.plot().axes[0].get_ylim()
    assert (low, high) == (1.5, -0.5)  # the first row on top, no row on the frame
    assert repr(results) == f"FinetuneResults(folder=Folder({results.uri!r}))"


def test_the_first_model_is_not_the_control(results: dg.FinetuneResults) -> None:
    assert [name.rpartition("/")[2].partition("-")[0] for name in results.models][:: len(results.models) - 1] == [
        "one",
        "none",
    ]
    with pytest.raises(dg.RequestError, match=f"holds several models; load one of them, such as {results.models[0]}"):
        dg.load_model(results.uri)


def test_a_run_is_no_model(checkpoint: str) -> None:
    with pytest.raises(dg.RequestError, match="is a pre-training run; load it with load_encoder"):
        dg.load_model(Path(checkpoint))


def test_control_equals_that_of_transfer(labelled: str, results: dg.FinetuneResults, tmp_path: Path) -> None:
    shared = {name: value for name, value in SMALL.items() if name not in ("encoder", "split")}
    corpus = {"auxiliary": ["edgepred"], "encoder": SMALL["encoder"], "split": SMALL["split"]}
    other = dg.transfer(data=labelled, out=tmp_path, methods=["fixed"], schemes=["scratch"], corpus=corpus, **shared)
    actual, reference = (one.records.query("method == 'none' and part == 'test'")["value"] for one in (results, other))
    assert list(actual) == list(reference)
    assert set(other.table["method"]) == {"none", "fixed"}


def test_evaluate(labelled: str, results: dg.FinetuneResults, tmp_path: Path) -> None:
    evaluation = dg.evaluate(model=results, corpus=labelled, out=tmp_path, device="cpu")
    assert len(evaluation.table) == 4
    expected = results.records.query("part == 'test'").set_index(["method", "seed"])["value"]
    for row in evaluation.table.itertuples():
        assert row.value == pytest.approx(expected[row.method, row.seed])
    assert len(evaluation.plot().axes) == 1


def test_predictions_of_a_corpus_equal_those_of_its_graphs(labelled: str, results: dg.FinetuneResults) -> None:
    model, corpus = dg.load_model(results.models[0]), dg.Corpus(labelled)
    whole = model.predict(labelled)
    assert list(whole.columns) == ["easy"]
    assert len(whole) == len(corpus)
    one_by_one = [model.predict(corpus[row]).to_numpy()[0, 0] for row in range(3)]
    np.testing.assert_allclose(whole["easy"].to_numpy()[:3], one_by_one, rtol=1e-5)
    np.testing.assert_allclose(model.predict(corpus[:3]).to_numpy(), whole.to_numpy()[:3], rtol=1e-5)
    assert torch.is_grad_enabled()


def test_inputs_that_do_not_fit_are_refused(results: dg.FinetuneResults) -> None:
    model = dg.load_model(results.models[0])
    with pytest.raises(dg.RequestError, match="cannot read SMILES"):
        model.predict(["CCO"])
    with pytest.raises(dg.RequestError, match="expected PyG Data or SMILES text, found int"):
        model.predict([1, 2])  # pyright: ignore[reportArgumentType]


def test_smiles(tmp_path: Path) -> None:
    table = tmp_path / "m.csv"
    table.write_text(
        "smiles,acid\n"
        + "".join(f"{'C' * n}{end},{int(end == 'C(=O)O')}\n" for n in range(1, 13) for end in ("O", "C(=O)O"))
    )
    corpus = dg.build_corpus("molecules", input=table, labels="acid", out=tmp_path / "corpus")
    assert len(corpus) == 24
    out = tmp_path / "out"
    results = dg.finetune(corpus=corpus.uri, out=out, save_models=True, **SMALL | {"seeds": 1, "epochs": 1})
    model = dg.load_model(results.models[0])
    np.testing.assert_allclose(
        model.predict(["CO", "CC(=O)O"]).to_numpy(), model.predict(corpus.uri).to_numpy()[:2], rtol=1e-5
    )
    with pytest.raises(dg.RequestError, match="SMILES 1, 'xyz': RDKit cannot read"):
        model.predict(["CO", "xyz"])


def test_few_labels_by_name_of_method(labelled: str, checkpoint: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"encoder": SMALL["encoder"], "updates": [1, 2], "draws": 2, "test_graphs": 20}
    found = dg.finetune(
        corpus=labelled, checkpoint={"mine": [checkpoint]}, train_labels=[8, "all"], out=tmp_path, **options
    )
    assert isinstance(found, dg.FewLabelResults)
    assert list(found.table["method"]) == ["mine", "none"] * 4
    assert set(found.table["labels"]) == {8, "all"}
    assert len(found.records) == 2 * 4 * 2
    assert "<table" in found._repr_html_()
    assert "2 random draws" in str(found)
    assert len(found.plot().axes) == 4
    spent = found.table.query("method == 'mine'").iloc[0]
    assert spent["pretrain_graphs"] == 4
    assert "mine 4 graphs" in str(found)
    names = {"config.json", "table.md", "table.tsv", "scores.tsv", "results.json"}
    assert names <= {path.name for path in tmp_path.iterdir()}
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"curves.png", "differences.png"}
    again = dg.finetune(
        dg.FewLabelConfig(labelled), checkpoint=[f"mine={checkpoint}"], train_labels=[8, "all"], out=tmp_path, **options
    )
    assert again.to_json()["scores"] == found.to_json()["scores"]


def test_several_seeds_of_a_method_need_few_labels(labelled: str, checkpoint: str, tmp_path: Path) -> None:
    with pytest.raises(dg.RequestError, match="several pre-training seeds need few-label evaluation"):
        dg.finetune(corpus=labelled, checkpoint={"mine": [checkpoint, f"{checkpoint}/"]}, out=tmp_path)


def test_evaluate_with_few_labels_is_that_of_finetune(
    labelled: str, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"updates": [1], "draws": 2, "test_graphs": 20, "train_labels": [10], "corpus": labelled}
    found = dg.evaluate(checkpoint={"mine": checkpoint}, out=tmp_path / "one", **options)
    assert found.records.equals(dg.finetune(checkpoint={"mine": checkpoint}, out=tmp_path / "two", **options).records)
    words = ["evaluate", "--corpus", labelled, "--checkpoint", f"mine={checkpoint}", "--out", str(tmp_path / "one")]
    assert main([*words, "--updates", "1", "--draws=2", "--test-graphs", "20", "--train-labels", "10", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"] == found.to_json()["summary"]
    assert main([*words, "--model", "x"]) == 2
    assert "--model (a fine-tuned model) and --checkpoint" in capsys.readouterr().err
    assert main(["evaluate", "--corpus", labelled, "--train-labels", "10"]) == 2
    assert "there is nothing to evaluate; give pre-trained encoders" in capsys.readouterr().err
    with pytest.raises(dg.RequestError, match="model: excludes few-label evaluation"):
        dg.evaluate(model="x", corpus=labelled, train_labels=[10])
    assert (dg.EvaluateEncodersConfig(labelled, ("x",)).draws, dg.EvaluateEncodersConfig(labelled, ("x",)).out) == (
        10,
        "runs/evaluate",
    )


@pytest.mark.parametrize("command", [dg.finetune, dg.analyse])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"updates": [5], "epochs": 3}, "epochs=3: has no meaning with updates"),
        ({"encoder": {"width": 999}}, "encoder.width=999: the checkpoint mine has encoder.width=8, which is used"),
    ],
)
def test_options_without_a_meaning_are_refused(
    command: Any, options: dict[str, Any], words: str, labelled: str, checkpoint: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"corpus": labelled, "checkpoint": [f"mine={checkpoint}"], "out": str(tmp_path / "out")}
    small = {"encoder": SMALL["encoder"] | options.get("encoder", {})}
    with pytest.raises(dg.RequestError, match=words):
        command(**given | options | small)
    assert not (tmp_path / "out").exists()
    for kind in (dg.AnalyseConfig, dg.FewLabelConfig):  # those that earlier versions saved are still read
        assert from_json(kind, given | options).checkpoint == (f"mine={checkpoint}",)


def test_named_checkpoint_without_few_labels(labelled: str, checkpoint: str, tmp_path: Path) -> None:
    found = dg.finetune(corpus=labelled, checkpoint=f"mine={checkpoint}", out=tmp_path, **SMALL)
    assert list(found.table["method"]) == ["mine", "none"]
    with pytest.raises(dg.RequestError, match="train_labels\\[0\\]: expected a whole number or all, found 'many'"):
        dg.finetune(corpus=labelled, train_labels=["many"])  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_analysis_of_a_checkpoint(labelled: str, checkpoint: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"train_labels": [8], "updates": [1], "draws": 2, "test_graphs": 20}
    found = dg.analyse(corpus=labelled, checkpoint={"mine": [checkpoint]}, out=tmp_path, **options)
    assert set(found.table["method"]) == {"mine", "none"}
    assert {"train_loss", "cka input", "cka graph"} < set(found.table["measure"])
    assert "<table" in found._repr_html_()
    assert "CKA of layers" in str(found)
    assert {path.name for path in tmp_path.iterdir()} >= {
        "config.json",
        "table.md",
        "table.tsv",
        "results.json",
        "jobs",
    }
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"cka.png", "changes.png"}
    assert len(found.plot().axes) == 1
    assert len(found.plot("changes").axes) == 2
    with pytest.raises(dg.RequestError, match="there are cka, changes"):
        found.plot("against")
    with pytest.raises(dg.RequestError, match="is that of another command, so it is not overwritten"):
        dg.finetune(corpus=labelled, checkpoint=checkpoint, out=tmp_path, **options)
    with pytest.raises(dg.RequestError, match=r"against encoder\.width: fewer than two methods have a value"):
        dg.analyse(corpus=labelled, checkpoint=checkpoint, out=tmp_path, against="encoder.width", **options)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(dg.RequestError, match=r"results\.json: is not that of this command"):
        dg.analyse(corpus=labelled, checkpoint=checkpoint, out=tmp_path, **options)

"""Evaluation of saved models: scores equal those of the fine-tuning, and incompatible requests are refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import distgnn
from distgnn.api.finetune import compare_checkpoints
from distgnn.api.progress import JobProgress
from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.cli import main
from distgnn.config import EncoderConfig, EvaluateConfig, FinetuneConfig, SplitConfig
from distgnn.corpus.reader import CorpusReader
from distgnn.errors import RequestError
from distgnn.finetuning.comparison import FinetuneComparison
from distgnn.finetuning.evaluate import evaluate
from distgnn.finetuning.saved_model import FineTunedModel, load_model, model_uris, write_models
from distgnn.graph.pyg import to_pyg
from distgnn.models.encoder import build_encoder
from distgnn.storage.folder import open_folder
from distgnn.storage.verified import CHECKSUMS
from tests.helpers.labelled import FEATURES, signal, write_labelled

GRAPHS = 700  # the test part is more than one batch of an evaluation
SMALL = EncoderConfig(layers=2, width=8)
OTHER = EncoderConfig(kind="gcn", layers=1, width=8)
METHODS = [
    InitialEncoder(f"run {c.kind}", c, build_encoder(FEATURES, c, seed=5).state_dict(), FEATURES)
    for c in (SMALL, OTHER)
]
HALVES = SplitConfig("random", fractions=(0.3, 0.2, 0.5))


def corpus(folder: Path, kind: str, names: tuple[str, ...] = ("a", "b")) -> str:
    s, noise = signal(GRAPHS), np.random.default_rng(1).normal(size=GRAPHS)
    y = {
        "binary": np.stack([s > 0, s + noise > 0], 1).astype(float),
        "values": np.stack([100 + 5 * s, 0.01 * s], 1),
        "classes": np.digitize(s, [-0.5, 0.5])[:, None].astype(float),
    }[kind]
    y[::9, 0] = np.nan
    uri = str(folder / kind)
    write_labelled(uri, y, names[: y.shape[1]], [f"g{g % 4}" for g in range(GRAPHS)])
    return uri


def config(uri: str, out: Path, **changes: Any) -> FinetuneConfig:
    settings: dict[str, Any] = {"split": HALVES, "seeds": 1, "epochs": 2, "save_models": True, "device": "cpu"}
    return FinetuneConfig(uri, out=str(out), **settings | changes)


def finetuned(uri: str, out: Path, methods: list[InitialEncoder] = METHODS[:1], **changes: Any) -> FinetuneComparison:
    return compare_checkpoints(config(uri, out, **changes), methods, JobProgress()).comparison


def models(out: Path) -> list[FineTunedModel]:
    return [load_model(uri) for uri in model_uris(str(out))]


def evaluate_config(uri: str, **changes: Any) -> EvaluateConfig:
    return EvaluateConfig(("x",), uri, device="cpu", **changes)


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> str:
    return corpus(tmp_path_factory.mktemp("corpora"), "binary")


@pytest.fixture(scope="module")
def out(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods with different architectures, their controls, two seeds."""
    folder = tmp_path_factory.mktemp("tuned")
    finetuned(binary, folder, METHODS, seeds=2)
    return folder


@pytest.mark.parametrize("kind", ["binary", "values", "classes"])
@pytest.mark.parametrize("frozen", [False, True])
def test_scores_on_the_test_part_equal_those_of_the_finetuning(tmp_path: Path, kind: str, frozen: bool) -> None:
    uri = corpus(tmp_path, kind)
    result = finetuned(uri, tmp_path / "out", frozen=frozen)
    found = evaluate(evaluate_config(uri), models(tmp_path / "out"))
    assert set(found.data.parts) == {"test"}
    by_method = {model.method: model for model in found.models}
    for (row, _), trained in result.results.items():
        again = by_method[row.method]
        assert again.scores["test"] == (trained.scores["test"][result.metric], trained.coverage["test"])
        assert np.array_equal(again.predictions["test"], trained.predictions["test"])


@pytest.mark.parametrize("part", ["val", "train", "all"])
def test_parts(binary: str, out: Path, part: Any) -> None:
    found = evaluate(evaluate_config(binary, part=part), models(out)[:1])
    assert len(found.data.parts[part]) == {"train": 210, "val": 140, "all": 700}[part]
    if part == "val":
        kept = json.loads((out / "models" / "run-gin-seed0" / "config.json").read_text())["scores"]["val"]
        named = {model.about.method: model for model in models(out) if model.about.seed == 0}
        assert (
            evaluate(evaluate_config(binary, part="val"), [named["run gin"]]).models[0].scores["val"]._asdict() == kept
        )


def test_ood_comes_with_the_test_part(binary: str, tmp_path: Path) -> None:
    finetuned(binary, tmp_path, split=SplitConfig("group", ood_groups=("g1",)))
    assert set(evaluate(evaluate_config(binary), models(tmp_path)).data.parts) == {"test", "ood"}


def test_all_graphs_of_another_corpus_are_evaluated(out: Path, tmp_path: Path) -> None:
    s = signal(40)
    other = str(tmp_path / "other")
    write_labelled(other, np.stack([s > 0, s > 0, s < 0], 1).astype(float), ("z", "b", "a"))
    found = evaluate(evaluate_config(other), models(out)[:1])
    assert {part: len(rows) for part, rows in found.data.parts.items()} == {"all": 40}
    assert found.data.target.names == ("a", "b"), "columns by name, in the order of the model"
    assert torch.equal(found.data.y[:, 0], torch.from_numpy((s < 0).astype(np.float32)))
    assert found.data.target.names == models(out)[0].about.labels


def test_a_model_is_a_module_for_pyg(binary: str, out: Path) -> None:
    model = distgnn.load_model(model_uris(str(out))[0])
    graphs = CorpusReader(binary).unit(0)
    everything = model(graphs)
    assert everything.shape == (64, 2)
    assert not model.training
    assert torch.allclose(model(to_pyg(graphs)), everything, atol=1e-6)


def test_the_command_writes_table_results_and_predictions(
    binary: str, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--model", str(out), "--corpus", binary, "--out", str(tmp_path), "--device", "cpu"]
    assert main(words) == 0
    assert "run gcn" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value == json.loads((tmp_path / "results.json").read_text())
    written = json.loads((out / "results.json").read_text())
    scores = {(run["method"], run["seed"]): run["scores"]["test"] for run in written["runs"]}
    assert {(m["method"], m["seed"]): m["scores"]["test"] for m in value["models"]} == scores
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table.num_rows == 350 * 2 * 8
    assert set(table.column("part").to_pylist()) == {"test"}


class TestSaving:
    def test_save_models_writes_one_folder_per_training(self, binary: str, out: Path, tmp_path: Path) -> None:
        names = {path.name for path in (out / "models").iterdir()}
        kinds = ("run-gin", "run-gcn", "none--run-gin", "none--run-gcn")
        assert names == {f"{kind}-seed{seed}" for kind in kinds for seed in (0, 1)}
        finetuned(binary, tmp_path, save_models=False)
        assert not (tmp_path / "models").exists()

    def test_jobs_without_a_saved_model_are_run_again(self, binary: str, tmp_path: Path) -> None:
        finetuned(binary, tmp_path, save_models=False)
        ran: list[int] = []

        class Counted(JobProgress):
            def __call__(self, done: int, jobs: int, job: str, result: Any) -> None:  # noqa: ARG002
                ran.append(done)

        for expected in ([1, 2], [1, 2]):
            compare_checkpoints(config(binary, tmp_path), METHODS[:1], Counted())
            assert ran == expected, "and not a third time"

    def test_cached_jobs_give_the_same_models(self, binary: str, tmp_path: Path) -> None:
        finetuned(binary, tmp_path)
        before = (tmp_path / "models" / "none-seed0" / CHECKSUMS).read_bytes()
        (tmp_path / "models" / "none-seed0" / CHECKSUMS).unlink()
        with pytest.raises(
            RequestError, match=r"none-seed0: the folder holds other things \(config.json\), no fine-tuned"
        ):
            finetuned(binary, tmp_path)  # without its checksums nothing says that it is ours
        shutil.rmtree(tmp_path / "models" / "none-seed0")
        finetuned(binary, tmp_path)
        assert (tmp_path / "models" / "none-seed0" / CHECKSUMS).read_bytes() == before
        load_model(str(tmp_path / "models" / "none-seed0"))

    def test_models_of_another_training_are_replaced(self, binary: str, tmp_path: Path) -> None:
        finetuned(binary, tmp_path)
        finetuned(binary, tmp_path, epochs=1)
        assert {model.about.best_epoch for model in models(tmp_path)} == {1}

    def test_names_that_map_to_the_same_folder(self, binary: str, tmp_path: Path) -> None:
        alike = [replace(METHODS[0], name=name) for name in ("a b", "a-b")]
        result = finetuned(binary, tmp_path, alike, epochs=1)
        names = write_models(result, [*alike, InitialEncoder("none", SMALL)], open_folder(str(tmp_path / "x")))
        assert len(set(names)) == 3


class TestRefusals:
    def test_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="no fine-tuned model here"):
            model_uris(str(tmp_path))

    def test_a_damaged_model_is_refused(self, out: Path, tmp_path: Path) -> None:
        folder = tmp_path / "copy"
        folder.mkdir()
        for path in (out / "models" / "run-gin-seed0").iterdir():
            data = path.read_bytes()
            (folder / path.name).write_bytes(data[:-1] + b"x" if path.name == "model.safetensors" else data)
        with pytest.raises(RequestError, match=r"model\.safetensors: wrong checksum"):
            load_model(str(folder))

    def test_a_checkpoint_is_refused(self, out: Path, tmp_path: Path) -> None:
        sealed = json.loads((out / "models" / "run-gin-seed0" / CHECKSUMS).read_text())
        (tmp_path / CHECKSUMS).write_text(json.dumps(sealed | {"format": "distgnn-checkpoint"}))
        with pytest.raises(RequestError, match=r"not the format of a fine-tuned model .distgnn-model."):
            load_model(str(tmp_path))

    def test_models_with_other_labels_are_refused(self, binary: str, out: Path, tmp_path: Path) -> None:
        finetuned(binary, tmp_path, labels=("b",), epochs=1)
        with pytest.raises(RequestError, match="differ in labels; evaluate them one after the other"):
            evaluate(evaluate_config(binary), [models(out)[0], models(tmp_path)[0]])

    def test_incompatible_corpora_are_refused(self, out: Path, tmp_path: Path) -> None:
        model = models(out)[:1]
        y = np.stack([np.arange(40) % 2.0] * 2, 1)
        write_labelled(str(tmp_path / "names"), y, ("a", "c"))
        with pytest.raises(RequestError, match="no label column 'b'"):
            evaluate(evaluate_config(str(tmp_path / "names")), model)
        write_labelled(str(tmp_path / "bare"), y, ("a", "b"), center=False)
        with pytest.raises(RequestError, match="no centre nodes"):
            evaluate(evaluate_config(str(tmp_path / "bare")), model)
        write_labelled(str(tmp_path / "same"), np.ones((40, 2)), ("a", "b"))
        with pytest.raises(RequestError, match="no label has both classes in part 'all'"):
            evaluate(evaluate_config(str(tmp_path / "same")), model)

    def test_a_missing_part_is_refused(self, binary: str, out: Path) -> None:
        with pytest.raises(RequestError, match="part=ood: the model's split has only train, val, test"):
            evaluate(evaluate_config(binary, part="ood"), models(out)[:1])

    @pytest.mark.parametrize("model", [(), ("a", "a")])
    def test_configs(self, model: tuple[str, ...]) -> None:
        with pytest.raises(RequestError, match="model must name"):
            EvaluateConfig(model, "c")

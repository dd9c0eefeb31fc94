"""Category codes and class numbers are checked when a checkpoint or a model is used with another corpus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from distgnn.cli import main
from distgnn.config import EncoderConfig, PretrainConfig, SplitConfig
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources.pyg import write_corpus
from distgnn.errors import RequestError
from distgnn.finetuning.evaluate import evaluate
from distgnn.finetuning.inputs import input_batches
from distgnn.finetuning.saved_model import load_model, model_uris
from distgnn.graph.schema import Feature, Schema
from distgnn.pretraining.init_from import load_init
from tests.finetuning.test_evaluate import evaluate_config, finetuned

KIND = Feature("kind", "categorical", 3, "codes of 0, 1, 2", ("0", "1", "2"))
SCHEMA = Schema(node=(KIND,), labels=("class",), classes={"class": ("-1", "1")})
OTHER_CODES = replace(SCHEMA, node=(replace(KIND, meaning="codes of 0, 2, 5", vocabulary=("0", "2", "5")),))
EDGES = torch.tensor([[0, 1], [1, 0]])


def corpus(folder: Path, schema: Schema, graphs: int = 40) -> str:
    made = [Data(x=torch.full((2, 1), g % 2), edge_index=EDGES, y=torch.tensor([float(g % 2)])) for g in range(graphs)]
    write_corpus(made, str(folder), schema)
    return str(folder)


def test_vocabularies_are_compared() -> None:
    message = (
        "x: node feature 'kind': the codes stand for other values .code 1 stands for '2', not '1': 0, 2, 5 instead"
    )
    with pytest.raises(RequestError, match=message):
        SCHEMA.check_features(OTHER_CODES, "x")
    SCHEMA.check_features(SCHEMA, "x")
    unknown = replace(SCHEMA, node=(replace(KIND, meaning="", vocabulary=()),))
    SCHEMA.check_features(unknown, "x")
    unknown.check_features(OTHER_CODES, "x")


def test_vocabularies_of_earlier_versions_are_in_the_meaning() -> None:
    earlier = replace(OTHER_CODES, node=(replace(OTHER_CODES.node[0], vocabulary=()),))
    assert earlier.node[0].words() == ("0", "2", "5")
    with pytest.raises(RequestError, match="stand for other values"):
        SCHEMA.check_features(earlier, "x")


def test_schemas_survive_json_and_stay_as_they_were_without_vocabularies() -> None:
    for schema in (SCHEMA, OTHER_CODES):
        assert Schema.from_json(schema.to_json()) == schema
    plain = Schema(node=(Feature("a", "categorical", 2),), labels=("y",)).to_json()
    assert "vocabulary" not in plain["node"][0]
    assert "classes" not in plain


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Feature("a", "categorical", 3, vocabulary=("x",)), "1 words in a vocabulary of size 3"),
    (lambda: Schema(classes={"y": ("a",)}), "classes of 'y', which is not a label"),
])  # fmt: skip
def test_invalid_vocabularies(make: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        make()


def test_checkpoint_and_model_refuse_other_codes(tmp_path: Path) -> None:
    a, b = corpus(tmp_path / "a", SCHEMA), corpus(tmp_path / "b", OTHER_CODES)
    c = corpus(tmp_path / "c", replace(SCHEMA, classes={"class": ("1", "2")}))
    small = ["--encoder.width", "8", "--encoder.layers", "1"]
    run = ["pretrain", "--corpus", a, "--name", "p", "--out", str(tmp_path), "--train.max-steps", "1"]
    assert main([*run, "--objective", "none", *small]) == 0
    checkpoint = str(tmp_path / "p")
    for command in (["finetune", "--corpus", b], ["transfer", "--data", b]):
        options = ["--checkpoint", checkpoint, "--out", str(tmp_path / "f"), "--seeds", "1", "--epochs", "1"]
        assert main([*command, *options]) == 2
    start = PretrainConfig(b, init=checkpoint, encoder=EncoderConfig(width=8, layers=1))
    with pytest.raises(RequestError, match="stand for other values"):
        load_init(start, CorpusReader(b).manifest.schema)
    finetuned(a, tmp_path / "ft", [], split=SplitConfig("random"), encoder=EncoderConfig(width=8, layers=1))
    models = [load_model(uri) for uri in model_uris(str(tmp_path / "ft"))]
    assert evaluate(evaluate_config(a), models).metric == "roc_auc"
    with pytest.raises(RequestError, match=r"the model cannot read .*stand for other values"):
        evaluate(evaluate_config(b), models)
    with pytest.raises(
        RequestError, match=r"label 'class': the codes stand for other values .code 0 stands for '1', not '-1'"
    ):
        evaluate(evaluate_config(c), models)
    with pytest.raises(RequestError, match="stand for other values"):
        list(input_batches(b, models[0].about.schema))

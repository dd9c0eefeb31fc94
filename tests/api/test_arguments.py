"""Arguments of the API functions: every name in them is checked before anything is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distgnn as dg
from distgnn.api.arguments import build_config
from distgnn.config import MetricsConfig, to_json
from distgnn.config.base import check_names
from distgnn.config.fields import plain_fields, type_of

SPACE: dict[str, Any] = {"space": {"lr": [1, 2]}, "finetune": {"corpus": "c"}}
SWEEP = dg.TuneConfig(space=("lr={1,2}",), pretrain=dg.PretrainConfig("c"), finetune=dg.FinetuneConfig("c"))
MISSPELT: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {
    "pretrain": (dg.pretrain, {"corpus": "c", "trian": {"epochs": 1}}, "PretrainConfig.trian: .*did you mean train"),
    "pretrain encoder": (dg.pretrain, {"corpus": "c", "encoder": {"jk": {}}}, "PretrainConfig.encoder.jk: unknown"),
    "pretrain metrics": (dg.pretrain, {"corpus": "c", "metrics": {"prt": {}}}, "PretrainConfig.metrics.prt: .*port"),
    "pretrain objective": (dg.pretrain, {"corpus": "c", "objective": "l3p"}, "PretrainConfig.objective='l3p'.*'l2p'"),
    "pretrain object": (dg.pretrain, {"config": dg.PretrainConfig("c", options={"trian": {}})}, "trian: .*mean train"),
    "dry_run": (dg.dry_run, {"corpus": "c", "trian": {}}, "PretrainConfig.trian: .*did you mean train"),
    "dry_run tune": (dg.dry_run, {"config": SWEEP, "pretrain": {"corpus": "c", "trian": {}}}, "pretrain.trian: "),
    "finetune": (dg.finetune, {"corpus": "c", "encoder": {"jk": {}}}, "encoder.jk: unknown"),
    "finetune metrics": (dg.finetune, {"corpus": "c", "metrics": {"prt": {}}}, "metrics.prt: unknown"),
    "few labels": (dg.finetune, {"corpus": "c", "train_labels": [9], "encoder": {"jk": {}}}, "encoder.jk: unknown"),
    "analyse": (dg.analyse, {"corpus": "c", "checkpoint": "x", "encoder": {"jk": {}}}, "encoder.jk: unknown"),
    "transfer": (dg.transfer, {"data": "d", "weighting": {"auxts": {"b": 1}}}, "TransferConfig.weighting.auxts: "),
    "transfer network": (dg.transfer, {"data": "d", "network": {"tsk": {}}}, "TransferConfig.network.tsk: "),
    "transfer objectives": (
        dg.transfer,
        {"data": "d", "corpus": {"objectives": {"l3p": {}}}},
        "corpus.objectives.l3p: .*l2p",
    ),
    "tune": (dg.tune, {**SPACE, "pretrian": {"corpus": "c"}}, "pretrian: .*did you mean pretrain"),
    "tune group": (dg.tune, {**SPACE, "pretrain": {"corpus": "c", "trian": {}}}, "pretrain.trian: "),
    "evaluate": (dg.evaluate, {"model": "m", "corpus": "c", "modle": {}}, "EvaluateConfig.modle: "),
    "build_corpus": (dg.build_corpus, {"source": "motifs", "metrics": {"prt": {}}}, "metrics.prt: .*port"),
    "build_network": (dg.build_network, {"source": "hetero", "inptu": {}}, "inptu: "),
    "build_database": (dg.build_database, {"input": "i", "inptu": {}}, "inptu: .*input"),
    "pretrain_databases": (dg.pretrain_databases, {"databases": "d", "trian": {}}, "trian: .*train"),
    "predict": (dg.predict, {"database": "d", "task": "t", "model": "m", "modle": {}}, "modle: .*model"),
    "evaluate_databases": (dg.evaluate_databases, {"databases": "d", "models": "m", "modles": {}}, "modles: .*models"),
}


@pytest.mark.parametrize("case", MISSPELT)
def test_misspelt_groups_are_refused_and_nothing_is_written(case: str, tmp_path: Path) -> None:
    call, options, message = MISSPELT[case]
    out = {} if call is dg.dry_run else {"out": tmp_path / "out"}
    with pytest.raises(dg.RequestError, match=message):
        call(**options, **out)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: dg.load_encoder(None), "expected a path or URI, found None"),
        (lambda _: dg.load_model(3), "expected a path or URI, found 3"),
        (lambda _: dg.load_checkpoint(b"runs"), "expected a path or URI, found b'runs'"),
        (lambda _: dg.Corpus(None), "expected a path or URI, found None"),
        (lambda _: dg.Run.open(None), "expected a path or URI"),
        (lambda _: dg.resume_sweep(None), "expected a path or URI"),
        (lambda _: dg.push(None, "x"), "expected a path or URI"),
        (lambda _: dg.write_report(None), "expected a path or URI"),
        (lambda _: dg.build_corpus(None), "source=None is unknown"),
        (lambda c: dg.Corpus(c).to_torch("3"), "to_torch: batch_size must be a whole number, found '3'"),
        (lambda c: dg.Corpus(c).to_torch(3, seed=0.5), "to_torch: seed must be a whole number"),
        (lambda c: dg.finetune(corpus=c, checkpoint=None), "checkpoint: None is no value of this field; give one"),
        (lambda _: dg.transfer(data=None), "TransferConfig.data: None is no value of this field"),
        (lambda _: dg.tune(space={"lr": [1, 2]}), "nothing to score trials on: give finetune.corpus"),
        (
            lambda _: dg.tune(**SPACE | {"space": {"lr": []}, "pretrain": {"corpus": "c"}}),
            "^space lr={}: an empty choice",
        ),
        (lambda _: dg.pretrain(dg.PretrainConfig(corpus=object())), "holds <object .*which is no number"),
    ],
)
def test_wrong_values_are_one_line(call: Callable[[str], Any], message: str, corpus: str) -> None:
    with pytest.raises(dg.RequestError, match=message) as caught:
        call(corpus)
    assert "\n" not in str(caught.value)
    assert " --" not in str(caught.value).replace("(--", "(")


def test_numbers_of_numpy(corpus: str, tmp_path: Path) -> None:
    train: dict[str, Any] = {"max_steps": np.int64(1), "lr": np.float32(0.5), "streams": np.int32(2), "device": "cpu"}
    encoder = {"layers": 1, "width": np.int16(4), "residual": np.bool_(True)}
    given: dict[str, Any] = {"corpus": corpus, "out": tmp_path, "objective": "edgepred", "encoder": encoder}
    run = dg.pretrain(name="a", train=train, **given)
    assert (run.config.train.max_steps, run.config.train.lr, run.config.encoder.residual) == (1, 0.5, True)
    assert dg.Run.open(run).config == run.config
    config = dg.PretrainConfig(corpus, train=dg.TrainConfig(**train), objective="edgepred", out=str(tmp_path))
    assert type(build_config(dg.PretrainConfig, config, {}).train.max_steps) is int
    few = build_config(dg.FewLabelConfig, None, {"corpus": "c", "train_labels": np.array([8, 16])})
    assert few.train_labels == (8, 16)
    assert len(dg.Corpus(corpus).to_torch(np.int64(100))) == 3


GROUPS = {
    (kind, item.name): hint
    for kind in (getattr(dg, name) for name in dg.__all__ if name.endswith("Config"))
    for item in plain_fields(kind)
    if dataclasses.is_dataclass(hint := type_of(kind, item.name))
}
REQUIRED: dict[str, Any] = {
    "AnalyseConfig": {"checkpoint": ("a",)},
    "EvaluateConfig": {"model": ("m",)},
    "EvaluateEncodersConfig": {"checkpoint": ("a",)},
    "DatabasePretrainConfig": {"databases": ("d",)},
    "TuneConfig": {"finetune": dg.FinetuneConfig("c"), "pretrain": dg.PretrainConfig("c")},
}


@pytest.mark.parametrize(("kind", "name"), GROUPS, ids=lambda one: one if isinstance(one, str) else one.__name__)
def test_dictionaries_are_taken_for_groups_of_config_objects(kind: type[Any], name: str) -> None:
    needed = {item.name: "x" for item in plain_fields(kind) if item.default is item.default_factory is MISSING}
    options = needed | REQUIRED.get(kind.__name__, {})
    usual = getattr(kind(**options), name)
    assert getattr(kind(**options | {name: to_json(usual)}), name) == usual
    with pytest.raises(dg.RequestError, match=rf"{kind.__name__}.{name}.trian: unknown field|{name}: .*corpus"):
        check_names(kind(**options | {name: to_json(usual) | {"trian": 3}}))


def test_misspelt_fields_of_a_config_object() -> None:
    with pytest.raises(TypeError, match="pretrian"):
        dg.TuneConfig(pretrian={})  # pyright: ignore[reportCallIssue] - that is the test
    with pytest.raises(TypeError, match="prt"):
        MetricsConfig(prt={})  # pyright: ignore[reportCallIssue]


USER = '''
"""An objective and a corpus source."""

from dataclasses import dataclass

import distgnn
from distgnn.config import BuildConfig
from distgnn.corpus.sources.motifs import MotifsConfig, MotifsSource
from distgnn.objectives.base import Objective


@dataclass(frozen=True)
class MineConfig:
    """Mine."""

    rate: float = 0.5
    """A rate."""


@distgnn.register.objective("arguments_mine", MineConfig)
class Mine(Objective):
    """Mine."""


@dataclass(frozen=True, kw_only=True)
class FewConfig(BuildConfig):
    """A few motif graphs."""

    few: int = 5
    """How many."""


@distgnn.register.corpus_source("arguments_few", FewConfig)
def few(config):
    return MotifsSource(MotifsConfig(out=config.out, graphs=config.few))
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Name of a module that no process has imported yet."""
    name = f"arguments_{request.node.originalname}"
    (tmp_path / f"{name}.py").write_text(USER)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_groups_of_imported_modules_are_checked(module: str, tmp_path: Path) -> None:
    """The module is imported before its options are read, whatever the objective is."""
    options: dict[str, Any] = {"corpus": "c", "out": tmp_path / "out", "imports": module}
    with pytest.raises(dg.RequestError, match=r"PretrainConfig.arguments_mine.rtae: .*did you mean rate"):
        dg.pretrain(arguments_mine={"rtae": 1.0}, **options)
    assert not (tmp_path / "out").exists()


def test_sources_of_imported_modules(module: str, tmp_path: Path) -> None:
    corpus = dg.build_corpus("arguments_few", few=7, out=tmp_path / "c", imports=[module])
    assert len(corpus) == 7

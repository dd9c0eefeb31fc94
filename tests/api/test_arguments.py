"""Arguments of the API functions: every name in them is checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import distgnn as dg
from distgnn.config import MetricsConfig

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

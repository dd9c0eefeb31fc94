"""Metadata of config fields: declared in every config class, combined with groups, and used by the commands."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import typing
from dataclasses import MISSING
from typing import Any

import pytest

import distgnn.config
import distgnn.options
from distgnn.config import (
    EncoderConfig,
    FinetuneConfig,
    PretrainConfig,
    TransferConfig,
    TuneConfig,
    WeightingConfig,
    from_json,
    to_json,
)
from distgnn.config.base import result_fields
from distgnn.config.fields import (
    Facts,
    changed,
    declares,
    facts_of,
    group_types,
    hyper,
    named,
    plain_fields,
    present_name,
    runtime,
    walk,
)
from distgnn.config.weighting import PUBLISHED
from distgnn.corpus.sources.ppi import PpiConfig
from distgnn.errors import RequestError
from distgnn.objectives.l2p.objective import L2PConfig
from distgnn.options import Globals, parse
from distgnn.register import REGISTRIES


def config_classes() -> list[type[Any]]:
    modules = [
        importlib.import_module(f"distgnn.config.{found.name}")
        for found in pkgutil.iter_modules(distgnn.config.__path__)
    ]
    found = {item for module in (*modules, distgnn.options) for item in vars(module).values() if isinstance(item, type)}
    found |= {entry.config for registry in REGISTRIES.values() for entry in registry.entries() if entry.config}
    skipped = {Facts, distgnn.options.Globals}
    return sorted((item for item in found - skipped if dataclasses.is_dataclass(item)), key=lambda item: item.__name__)


def floats(kind: type[Any]) -> dict[str, Any]:
    """Default of each float of a config class, and of each tuple of floats as one of its items, by field."""
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in plain_fields(kind) if "float" in str(hints[item.name])}


@pytest.mark.parametrize("bad", ["inf", "-inf", "nan"])
@pytest.mark.parametrize("kind", [kind for kind in config_classes() if floats(kind)], ids=lambda kind: kind.__name__)
def test_no_number_of_a_config_is_infinite(kind: type[Any], bad: str) -> None:
    required = {item.name: "x" for item in plain_fields(kind) if item.default is item.default_factory is MISSING}
    for name, hint in floats(kind).items():
        value = [float(bad)] if typing.get_origin(hint) is tuple else float(bad)
        value = {"a": float(bad)} if typing.get_origin(hint) is dict else value
        with pytest.raises(RequestError, match=f"{name}.*must be a finite number, found {bad}"):
            from_json(kind, {**required, name: value})


def test_an_infinite_option_of_a_group() -> None:
    with pytest.raises(RequestError, match=r"^train.lr must be a finite number, found inf$"):
        parse(PretrainConfig, "distgnn pretrain", ["--corpus", "x", "--train.lr", "inf"], Globals("", False, ""))
    with pytest.raises(RequestError, match=r"^l2p.node_lr must be a finite number, found inf$"):
        parse(PretrainConfig, "distgnn pretrain", ["--corpus", "x", "--l2p.node-lr", "inf"], Globals("", False, ""))
    with pytest.raises(RequestError, match="must be a finite number, found one of 401 digits"):
        from_json(PretrainConfig, {"corpus": "x", "train": {"lr": 10**400}})


@pytest.mark.parametrize("kind", config_classes(), ids=lambda kind: kind.__name__)
def test_every_field_declares_its_facts(kind: type[Any]) -> None:
    silent = [item.name for item in dataclasses.fields(kind) if not declares(item)]
    assert not silent, "use hyper, setting, runtime, reads or writes of distgnn.config.fields"
    for item in dataclasses.fields(kind):
        facts = facts_of(item)
        assert not (facts.reads or facts.writes) or not (facts.searchable or facts.resumable), item.name
        assert not (facts.resumable and facts.results), f"{item.name} may change on resume, but changes results"


def test_the_config_classes_are_found() -> None:
    assert {PretrainConfig, TuneConfig, PpiConfig, distgnn.options.PushOptions} <= set(config_classes())


def test_a_group_restricts_its_fields() -> None:
    facts = dict(walk(FinetuneConfig))
    assert facts["lr"].searchable
    assert not facts["encoder.layers"].searchable, "the encoder of a fine-tuning is that of the checkpoint"
    assert not facts["encoder.layers"].results
    assert dict(walk(PretrainConfig))["recovery.poll_seconds"].resumable


@pytest.mark.parametrize(
    ("kind", "fact", "names"),
    [
        (PretrainConfig, "resumable", {"workers", "imports", "train.device", "train.keep_best", "metrics.port"}),
        (PretrainConfig, "structural", {"encoder.kind", "contextpred.layers", "train.seed", "train.streams"}),
        (TuneConfig, "resumable", {"trials", "retries", "pretrain.imports", "finetune.device", "transfer.device"}),
        (TuneConfig, "searchable", {"pretrain.l2p.node_lr", "finetune.lr", "transfer.weighting.normalise"}),
        (TransferConfig, "reads", {"data", "checkpoint", "corpus.aux_corpus"}),
        (PpiConfig, "reads", {"input", "labels"}),
        (PpiConfig, "writes", {"out"}),
    ],
)
def test_facts(kind: type[Any], fact: str, names: set[str]) -> None:
    assert names <= named(kind, fact)


@pytest.mark.parametrize(
    "name", ["pretrain.corpus", "pretrain.train.keep", "finetune.seeds", "finetune.encoder.layers", "out"]
)
def test_not_searchable(name: str) -> None:
    assert name in named(TuneConfig, "searchable", False)


def test_a_field_without_facts_is_a_hyper_parameter() -> None:
    @dataclasses.dataclass(frozen=True)
    class Theirs:
        rate: float = 0.1

    assert dict(walk(Theirs)) == {"rate": Facts(searchable=True)}


def test_changed_names_what_differs() -> None:
    old, new = {"a": 1, "b": {"c": [1], "d": 2}}, {"a": 1, "b": {"c": [2], "d": 2}}
    assert changed(old, new) == {"b.c": ([1], [2])}


def test_job_keys_ignore_how_jobs_are_run() -> None:
    config = FinetuneConfig("x")
    same = dataclasses.replace(config, device="cpu", workers=2, seeds=9, out="elsewhere", save_models=True)
    assert result_fields(config) == result_fields(same)
    for other in (dataclasses.replace(config, lr=0.5), dataclasses.replace(config, use_center=False)):
        assert result_fields(config) != result_fields(other)


class TestEarlierNames:
    @pytest.mark.parametrize(
        ("kind", "old", "new"),
        [
            (EncoderConfig, {"jump": "sum"}, {"jumping_knowledge": "sum"}),
            (WeightingConfig, {"normalise": "yes"}, {"normalise": True}),
            (WeightingConfig, {"normalise": "no"}, {"normalise": False}),
            (WeightingConfig, {"normalise": "auto"}, {"normalise": None}),
            (FinetuneConfig, {"corpus": "x", "use_center": "no"}, {"corpus": "x", "use_center": False}),
            (
                TuneConfig,
                {"steps": 90, "grace": 10, "eta": 2, "startup": 4, "finetune": {"corpus": "x", "checkpoint": ["c"]}},
                {
                    "max_steps": 90,
                    "grace_period": 10,
                    "reduction_factor": 2,
                    "n_startup_trials": 4,
                    "finetune": {"corpus": "x", "checkpoint": ["c"]},
                },
            ),
        ],
    )
    def test_are_read(self, kind: type[Any], old: dict[str, Any], new: dict[str, Any]) -> None:
        config = from_json(kind, old)
        assert config == from_json(kind, new)
        assert from_json(kind, to_json(config)) == config
        saved = {item.name for item in plain_fields(kind)} | set(group_types(kind))
        assert set(to_json(config)) == saved, "written with the present names"

    def test_both_names_are_refused(self) -> None:
        with pytest.raises(RequestError, match=r"config\.jump: is the earlier name of jumping_knowledge"):
            from_json(EncoderConfig, {"jump": "sum", "jumping_knowledge": "max"})

    @pytest.mark.parametrize("value", ["maybe", ["yes"]])
    def test_no_other_value_is_a_choice(self, value: object) -> None:
        with pytest.raises(RequestError, match=r"config\.normalise: expected true, false or null, found .*(maybe|yes)"):
            from_json(WeightingConfig, {"normalise": value})

    def test_dotted(self) -> None:
        assert present_name(TuneConfig, "pretrain.encoder.jump") == "pretrain.encoder.jumping_knowledge"
        assert present_name(TuneConfig, "finetune.lr") == "finetune.lr"
        assert present_name(TuneConfig, "nothing.known") == "nothing.known"


def test_options_take_defaults_and_factories() -> None:
    @dataclasses.dataclass(frozen=True)
    class Group:
        one: int = runtime(1)
        many: tuple[int, ...] = hyper(factory=tuple)

    assert (Group().one, Group().many) == (1, ())


def test_a_field_that_a_saved_config_lacks_keeps_its_earlier_meaning() -> None:
    """A saved config names all other fields; a user's names some."""
    saved = to_json(PretrainConfig(corpus="c"))
    for name in ("adapted_layers", "support_loss", "scores", "node_lr_width"):
        del saved["l2p"][name]
    old = from_json(PretrainConfig, saved).l2p
    assert (old.adapted_layers, old.support_loss, old.scores, old.node_lr_width) == (0, "sum", "dot", 0)
    assert from_json(PretrainConfig, {"corpus": "c", "l2p": {"node_lr": 0.5}}).l2p == L2PConfig(node_lr=0.5)
    saved["l2p"]["scores"] = "scaled"
    assert from_json(PretrainConfig, saved).l2p.scores == "scaled"


def test_saved_comparisons_keep_the_earlier_defaults() -> None:
    saved = to_json(TransferConfig("d"))
    for name in ("start", "judge", "heldout", "lookahead", "moments", "proximal"):
        del saved["weighting"][name]
    del saved["network"]["paths"]
    saved["network"]["messages"] = "keep"
    old = from_json(TransferConfig, saved)
    assert {name: getattr(old.weighting, name) for name in PUBLISHED} == PUBLISHED
    assert (old.weighting.heldout, old.weighting.proximal) == (0.1, 0.0)
    assert (old.weighting.settled().normalise, old.weighting.settled().lr) == (False, 1e-4)
    assert (old.network.paths, old.network.messages) == ("all", "keep")
    new = from_json(TransferConfig, {"data": "d", "weighting": {"hidden": 8}})
    assert (new.weighting.start, new.weighting.judge, new.network.paths, new.network.messages) == (
        0.05,
        "heldout",
        "nonbacktracking",
        "hide",
    )

"""Public names: their docstrings, and the config classes that their signatures need."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import distgnn as dg
from distgnn.cli import main
from distgnn.config.fields import group_types, plain_fields

HIDDEN = {"self", "cls", "args", "kwargs"}
STRUCTURES = {"Checkpoint", "CorpusReport", "Database", "Feature", "GraphBatch", "Schema"}
"""Data structures, whose methods have docstrings of one line; so have those of configs."""


def functions() -> dict[str, Callable[..., Any]]:
    """Public functions in ``distgnn.__all__``, and public methods of its classes that are more than data structures."""
    found: dict[str, Callable[..., Any]] = {}
    for name in dg.__all__:
        value = getattr(dg, name)
        if inspect.isclass(value):
            if name in STRUCTURES or name.endswith("Config"):
                continue
            methods = inspect.getmembers(value, lambda one: inspect.isfunction(one) or inspect.ismethod(one))
            own = {f"{name}.{key}": one for key, one in methods if one.__module__.startswith("distgnn.")}
            found |= {key: one for key, one in own.items() if not key.rpartition(".")[2].startswith("_")}
        elif callable(value):
            found[name] = value
    return found


FUNCTIONS = functions()


def parameters(call: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(call).parameters) - HIDDEN


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstrings(name: str) -> None:
    call = FUNCTIONS[name]
    text, signature = inspect.getdoc(call) or "", inspect.signature(call)
    assert text
    wanted = ["Args:"] if parameters(call) else []
    if (parameters(call) or "." not in name) and signature.return_annotation not in (None, "None"):
        wanted.append("Yields:" if "Iterator" in str(signature.return_annotation) else "Returns:")
    assert not [section for section in wanted if f"\n{section}\n" not in f"{text}\n"]
    arguments = text.partition("Args:\n")[2]
    assert not [one for one in parameters(call) if not re.search(rf"^ *\**{one}: ", arguments, re.M)]


@pytest.mark.parametrize("name", [name for name in dg.__all__ if inspect.isclass(getattr(dg, name))])
def test_docstrings_of_classes(name: str) -> None:
    assert not (inspect.getdoc(getattr(dg, name)) or "").startswith((f"{name}(", "dict(")), "made by dataclasses"


def config_classes(hint: Any) -> Iterator[type[Any]]:
    if inspect.isclass(hint) and dataclasses.is_dataclass(hint) and hint.__module__.startswith("distgnn."):
        yield from [hint] if hint.__name__.endswith("Config") else []
    for below in typing.get_args(hint):
        yield from config_classes(below)


def with_groups(kind: type[Any]) -> Iterator[type[Any]]:
    """A config class, those of its fields, and those of the options of built-in names."""
    yield kind
    hints = typing.get_type_hints(kind)
    for below in (*(hints[item.name] for item in plain_fields(kind)), *group_types(kind).values()):
        for config in config_classes(below):
            yield from with_groups(config)


def test_config_classes_of_signatures_are_exported() -> None:
    roots = {getattr(dg, name) for name in dg.__all__ if name.endswith("Config")}
    for name, call in FUNCTIONS.items():
        hints = re.findall(r"\b(\w+Config)\b", str(inspect.signature(call)))
        missing = [hint for hint in hints if hint not in dg.__all__]
        assert not missing, f"{name} takes {missing}"
    needed = {below for root in roots for below in with_groups(root)}
    assert not sorted(kind.__name__ for kind in needed if getattr(dg, kind.__name__, None) is not kind)


def test_push_pull_and_verify(corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They take paths and runs; the commands print the same."""
    train = {"max_steps": 1, "streams": 2, "graphs_per_stream": 4, "device": "cpu"}
    run = dg.pretrain(corpus=corpus, out=tmp_path, name="r", objective="edgepred", train=train)
    copy = dg.push(run, tmp_path / "copy", weights_only=True)
    assert dg.load_encoder(dg.pull(tmp_path / "copy")).width == run.load_encoder().width
    assert dg.pull(copy, tmp_path / "second") == str(tmp_path / "second")
    assert main(["push", run.uri, str(tmp_path / "copy"), "--weights-only"]) == 0
    assert capsys.readouterr().out.strip() == copy
    report = dg.verify_corpus(dg.Corpus(corpus))
    assert report.ok
    assert (report.graphs, report.problems) == (300, ())

"""Facts about config fields, kept on the fields as dataclass metadata. Standard library only."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, replace
from typing import Any

_KEY = "distgnn"


@dataclass(frozen=True)
class Facts:
    """What the commands know about a config field.

    Attributes:
        resumable: May change when a run or a sweep is resumed.
        reads: Path or URI of an input.
        writes: Path or URI of an output.
        results: Changes the results of a fine-tuning or transfer job, so it is part of the job's cache key.
        searchable: A sweep may search it.
        structural: Determines the shape of the weights or the order of the data, so it cannot change while a model trains.
        aliases: Earlier names of the field, still read from saved configs.
    """

    resumable: bool = False
    reads: bool = False
    writes: bool = False
    results: bool = True
    searchable: bool = False
    structural: bool = False
    aliases: tuple[str, ...] = ()

    def below(self, group: Facts) -> Facts:
        """The facts of a field of ``group``: a group restricts what its fields allow."""
        return replace(
            self,
            resumable=self.resumable or group.resumable,
            results=self.results and group.results,
            searchable=self.searchable and group.searchable,
            structural=self.structural or group.structural,
        )


HYPER = Facts(searchable=True)


def option(default: Any = MISSING, facts: Facts = Facts(), *, factory: Any = MISSING, **changes: Any) -> Any:
    """A dataclass field with ``facts``, of which ``changes`` replaces some. ``factory`` makes the default of a group."""
    metadata = {_KEY: replace(facts, **changes)}
    if factory is not MISSING:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def hyper(default: Any = MISSING, **changes: Any) -> Any:
    """A hyper-parameter: it changes results, and a sweep may search it."""
    return option(default, HYPER, **changes)


def setting(default: Any = MISSING, **changes: Any) -> Any:
    """A field that changes results or their meaning, so it is the same in all trials of a sweep."""
    return option(default, Facts(), **changes)


def runtime(default: Any = MISSING, **changes: Any) -> Any:
    """A field that says how the work is run. Results do not depend on it, and it may change on resume."""
    return option(default, Facts(resumable=True, results=False), **changes)


def reads(default: Any = MISSING, **changes: Any) -> Any:
    """Path or URI of an input."""
    return option(default, Facts(reads=True), **changes)


def writes(default: Any = MISSING, **changes: Any) -> Any:
    """Path or URI of an output."""
    return option(default, Facts(writes=True, results=False), **changes)


def facts_of(item: dataclasses.Field[Any]) -> Facts:
    """The facts of one field; those of a hyper-parameter where it declares none (a class of a user's module)."""
    return item.metadata.get(_KEY, HYPER)


def declares(item: dataclasses.Field[Any]) -> bool:
    """Whether the field declares its facts."""
    return _KEY in item.metadata


def walk(kind: type[Any]) -> Iterator[tuple[str, Facts]]:
    """(dotted name, facts) of every field of a config class and of its groups."""
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        facts, hint = facts_of(item), hints[item.name]
        if dataclasses.is_dataclass(hint):
            yield from ((f"{item.name}.{name}", below.below(facts)) for name, below in walk(typing.cast(type, hint)))
        else:
            yield item.name, facts


def named(kind: type[Any], fact: str, value: bool = True) -> frozenset[str]:
    """Dotted names of the fields of ``kind`` whose ``fact`` (a name of :class:`Facts`) is ``value``."""
    return frozenset(name for name, facts in walk(kind) if getattr(facts, fact) == value)


def renamed(kind: type[Any]) -> dict[str, str]:
    """Earlier names of the fields of ``kind`` (not of its groups), and their present ones."""
    return {alias: item.name for item in dataclasses.fields(kind) for alias in facts_of(item).aliases}


def present_name(kind: type[Any], dotted: str) -> str:
    """``dotted`` with earlier names of fields replaced by the present ones."""
    first, dot, rest = dotted.partition(".")
    first = renamed(kind).get(first, first)
    below = typing.get_type_hints(kind).get(first)
    if not rest or not dataclasses.is_dataclass(below):
        return f"{first}{dot}{rest}"
    return f"{first}.{present_name(typing.cast(type, below), rest)}"


def flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested JSON objects as one mapping from dotted names to values."""
    if not isinstance(data, dict):
        return {prefix: data}
    return {
        name: value
        for key, below in data.items()
        for name, value in flat(below, f"{prefix}.{key}" if prefix else key).items()
    }


def changed(old: Any, new: Any) -> dict[str, tuple[Any, Any]]:
    """Dotted names whose values differ between two configs of the same class as JSON: name -> (old, new)."""
    before, after = flat(old), flat(new)
    return {name: (before.get(name), after.get(name)) for name in before | after if before.get(name) != after.get(name)}

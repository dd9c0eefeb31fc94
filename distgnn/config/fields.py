"""Metadata of config fields, and groups of options from registries. Standard library only.

A config class with a field ``options: Options = registered("objective")`` has a group for each registered name that has
options: ``config.l2p``, ``--l2p.node-steps`` and ``{"l2p": {"node_steps": 1}}`` in JSON. ``options`` contains the
groups that differ from their defaults.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, replace
from typing import Any

from distgnn.errors import RequestError
from distgnn.register import REGISTRIES, Registry, changes_of_registries

_KEY, _REGISTRIES = "distgnn", "distgnn.registries"
SEED = (1 << 63) - 1
"""Largest seed: random number generators take 64 bits."""
Options = Mapping[str, Any]
"""Groups of options by name: instances of their config classes, or JSON objects of names that are not registered (yet)."""


@dataclass(frozen=True)
class Facts:
    """Metadata of a config field.

    Attributes:
        resumable: May change when a run or a sweep is resumed.
        reads: Path or URI of an input.
        writes: Path or URI of an output.
        results: Changes the results of a fine-tuning or transfer job, so it is part of the job's cache key.
        searchable: May be searched by a sweep.
        structural: Determines the shape of the weights or the order of the data, so it cannot change during training.
        aliases: Earlier names of the field, still accepted in saved configs.
        names: Kinds of the registries of the names that the field takes, separated by blanks.
        also: Other values that the field takes.
        most: Largest absolute value of a number; 0 = 2^31 - 1 for whole numbers, none for others.
        code: Names code that is imported. It is taken from the user, never from a file.
        before: What the lack of the field means in a config that an earlier version saved, if that is not the default.
            Such a config names all fields without ``before``.
    """

    resumable: bool = False
    reads: bool = False
    writes: bool = False
    results: bool = True
    searchable: bool = False
    structural: bool = False
    aliases: tuple[str, ...] = ()
    names: str = ""
    also: tuple[str, ...] = ()
    most: int = 0
    code: bool = False
    before: Any = None

    @property
    def registries(self) -> tuple[Registry, ...]:
        """The registries of ``names``."""
        return tuple(REGISTRIES[kind] for kind in self.names.split())

    @property
    def known(self) -> tuple[str, ...]:
        """All names that the field takes."""
        return (*self.also, *(name for registry in self.registries for name in registry.names()))

    def below(self, group: Facts) -> Facts:
        """Combine with the metadata of the ``group`` that contains the field: a group restricts what its fields allow."""
        return replace(
            self,
            resumable=self.resumable or group.resumable,
            results=self.results and group.results,
            searchable=self.searchable and group.searchable,
            structural=self.structural or group.structural,
        )


HYPER = Facts(searchable=True)


def option(default: Any = MISSING, facts: Facts = Facts(), *, factory: Any = MISSING, **changes: Any) -> Any:
    """Declare a dataclass field with metadata.

    Args:
        default: Default value.
        facts: Metadata of the field.
        factory: Factory of the default value, for groups.
        changes: Attributes of ``facts`` to replace.
    """
    metadata = {_KEY: replace(facts, **changes)}
    if factory is not MISSING:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def hyper(default: Any = MISSING, **changes: Any) -> Any:
    """Declare a hyper-parameter: it changes results and may be searched by a sweep."""
    return option(default, HYPER, **changes)


def setting(default: Any = MISSING, **changes: Any) -> Any:
    """Declare a field that changes results or their meaning; it is the same in all trials of a sweep."""
    return option(default, Facts(), **changes)


def runtime(default: Any = MISSING, **changes: Any) -> Any:
    """Declare a field for how to run: it does not change results and may change on resume."""
    return option(default, Facts(resumable=True, results=False), **changes)


def reads(default: Any = MISSING, **changes: Any) -> Any:
    """Declare the path or URI of an input."""
    return option(default, Facts(reads=True), **changes)


def writes(default: Any = MISSING, **changes: Any) -> Any:
    """Declare the path or URI of an output."""
    return option(default, Facts(writes=True, results=False), **changes)


def registered(*registries: str) -> Any:
    """Declare the field ``options`` of a class whose groups are the options of the entries of ``registries``."""
    return dataclasses.field(default_factory=dict, metadata={_KEY: HYPER, _REGISTRIES: registries})


@functools.cache
def registries_of(kind: type[Any]) -> tuple[Registry, ...]:
    """Return the registries whose options are groups of ``kind``."""
    item = next((item for item in dataclasses.fields(kind) if _REGISTRIES in item.metadata), None)
    return tuple(REGISTRIES[name] for name in item.metadata[_REGISTRIES]) if item else ()


def group_types(kind: type[Any]) -> dict[str, type[Any]]:
    """Return the groups that registries add to ``kind``; raises RequestError if one has the name of a field."""
    found: dict[str, type[Any]] = {}
    taken = {item.name for item in dataclasses.fields(kind)}
    for registry in registries_of(kind):
        for entry in registry.entries():
            if entry.config is None:
                continue
            if entry.name in taken | set(found):
                raise RequestError(f"register.{registry.kind}: {entry.name!r} is a field of {kind.__name__}; rename it")
            found[entry.name] = entry.config
    return found


def group_type(kind: type[Any], name: str) -> type[Any] | None:
    """Return the config class of the group ``name`` that a registry adds to ``kind``; None if there is none."""
    entries = (registry.find(name) for registry in registries_of(kind))
    return next((entry.config for entry in entries if entry and entry.config), None)


@functools.cache
def plain_fields(kind: type[Any]) -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields of ``kind`` without ``options``."""
    return tuple(item for item in dataclasses.fields(kind) if _REGISTRIES not in item.metadata)


@functools.cache
def field_facts(kind: type[Any]) -> Mapping[str, Facts]:
    """Return the metadata of the fields of ``kind`` without ``options``, by name."""
    return {item.name: facts_of(item) for item in plain_fields(kind)}


def selected(config: Any) -> Iterator[tuple[str, str, Facts]]:
    """Yield (field, name, metadata) for every registered name in the fields of ``config`` itself."""
    for item in plain_fields(type(config)):
        facts = facts_of(item)
        if facts.names:
            value = getattr(config, item.name)
            yield from ((item.name, name, facts) for name in ((value,) if isinstance(value, str) else value))


def facts_of(item: dataclasses.Field[Any]) -> Facts:
    """Return the metadata of a field; fields without metadata (in user modules) are hyper-parameters."""
    return item.metadata.get(_KEY, HYPER)


def declares(item: dataclasses.Field[Any]) -> bool:
    """Return whether the field has metadata."""
    return _KEY in item.metadata


def walk(kind: type[Any]) -> tuple[tuple[str, Facts], ...]:
    """Return (dotted name, metadata) for every field of a config class and of its groups."""
    return _walked(kind, changes_of_registries())


@functools.lru_cache(256)
def _walked(kind: type[Any], state: int) -> tuple[tuple[str, Facts], ...]:
    """Walk once for each state of the registries."""
    del state
    return tuple(_walk(kind))


def _walk(kind: type[Any]) -> Iterator[tuple[str, Facts]]:
    for name, facts in field_facts(kind).items():
        hint = _field_types(kind)[name]
        if dataclasses.is_dataclass(hint):
            yield from ((f"{name}.{inner}", below.below(facts)) for inner, below in walk(typing.cast(type, hint)))
        else:
            yield name, facts
    for group, config in group_types(kind).items():
        yield from ((f"{group}.{name}", facts) for name, facts in walk(config))


def type_of(kind: type[Any], dotted: str) -> Any:
    """Return the type of a field, a group, or a field of a group; None if it does not exist."""
    hint: Any = kind
    for part in dotted.split("."):
        if not dataclasses.is_dataclass(hint):
            return None
        known = _field_types(typing.cast(type, hint))
        hint = known[part] if part in known else group_type(typing.cast(type, hint), part)
    return hint


@functools.cache  # it compiles the text of every annotation
def _field_types(kind: type[Any]) -> Mapping[str, Any]:
    """Return the types of the fields of ``kind`` without ``options``, by name."""
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in plain_fields(kind)}


def named(kind: type[Any], fact: str, value: bool = True) -> frozenset[str]:
    """Return the dotted names of the fields of ``kind`` whose attribute ``fact`` of :class:`Facts` is ``value``."""
    return frozenset(name for name, facts in walk(kind) if getattr(facts, fact) == value)


@functools.cache
def renamed(kind: type[Any]) -> Mapping[str, str]:
    """Map earlier names of the fields of ``kind`` (without its groups) to present ones."""
    return {alias: item.name for item in dataclasses.fields(kind) for alias in facts_of(item).aliases}


def as_saved(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Complete the values of a config that an earlier version saved, see :attr:`Facts.before`; others are returned as given."""
    facts = field_facts(kind)
    earlier = {name: fact.before for name, fact in facts.items() if fact.before is not None}
    saved = earlier and all(name in data for name in facts if name not in earlier)
    return {**earlier, **data} if saved else dict(data)


def present_name(kind: type[Any], dotted: str) -> str:
    """Replace earlier names of fields in ``dotted`` by the present ones."""
    first, dot, rest = dotted.partition(".")
    first = renamed(kind).get(first, first)
    below = type_of(kind, first)
    if not rest or not dataclasses.is_dataclass(below):
        return f"{first}{dot}{rest}"
    return f"{first}.{present_name(typing.cast(type, below), rest)}"


def flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested JSON objects to a mapping from dotted names to values."""
    if not isinstance(data, dict):
        return {prefix: data}
    return {
        name: value
        for key, below in data.items()
        for name, value in flat(below, f"{prefix}.{key}" if prefix else key).items()
    }


def changed(old: Any, new: Any) -> dict[str, tuple[Any, Any]]:
    """Return the dotted names whose values differ between two JSON configs of the same class: name -> (old, new)."""
    before, after = flat(old), flat(new)
    return {name: (before.get(name), after.get(name)) for name in before | after if before.get(name) != after.get(name)}

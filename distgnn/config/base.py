"""Common parts of configs: checks, and conversion to and from JSON. Standard library only."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Collection
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, TypeVar

from distgnn.config.fields import (
    Options,
    as_saved,
    changed,
    facts_of,
    field_facts,
    flat,
    group_type,
    named,
    plain_fields,
    registries_of,
    renamed,
    selected,
    type_of,
    walk,
)
from distgnn.config.values import convert, finite, read_json, short
from distgnn.errors import RequestError
from distgnn.register import unknown

C = TypeVar("C")
MOST = (1 << 31) - 1
"""Largest whole number of a config field that declares no other limit."""


def check(good: bool, message: str) -> None:
    """Raise RequestError with ``message`` unless ``good``."""
    if not good:
        raise RequestError(message)


def check_imports(names: tuple[str, ...]) -> None:
    """Raise RequestError unless ``names`` are dotted names of modules."""
    bad = [name for name in names if not all(part.isidentifier() for part in name.split("."))]
    check(not bad, f"imports: {bad[:1]} is not a dotted name of a Python module such as my_package.encoders")


def check_code(config: Any, given: Collection[str], where: str) -> None:
    """Refuse a config of a file that names code (modules, a class) which the user does not name, too.

    Args:
        config: The config as read from a file.
        given: What the user names: values of --imports and --weighting.library.
        where: The file, for the message.

    Raises:
        RequestError: A name is not among ``given``.
    """
    for dotted in sorted(named(type(config), "code")):
        value = attrgetter(dotted)(config)
        for name in (value,) if isinstance(value, str) else value:
            if name and name not in given:
                flag = f"--{dotted.replace('_', '-')} {name}"
                raise RequestError(
                    f"{where}: {dotted} names code to run ({name!r}); files cannot do that, add {flag} (in Python, {dotted})"
                )


class _Groups(dict[str, Any]):
    """Groups by name, hashable like the configs that contain them."""

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(tuple(sorted(self)))


class OpenConfig:
    """Base of configs with groups of options from registries, see :mod:`distgnn.config.fields`."""

    options: Options

    def __post_init__(self) -> None:
        take_groups(self)
        groups = {name: value for name, value in self.options.items() if not _is_default(value)}
        object.__setattr__(self, "options", _Groups(groups))

    def __getattr__(self, name: str) -> Any:
        """Return the options of a registered name: the given ones, else their defaults."""
        if not name.startswith("_") and "options" in vars(self):
            kind, given = group_type(type(self), name), self.options.get(name, {})
            if kind is not None:
                return from_json(kind, given, name) if isinstance(given, dict) else given
        raise AttributeError(f"{type(self).__name__!r} has no field or group {name!r}")


def take_groups(config: Any) -> None:
    """Convert dictionaries in the fields of ``config`` that are groups to their config classes; called by its constructor."""
    for item in plain_fields(type(config)):
        value = getattr(config, item.name)
        if isinstance(value, dict) and dataclasses.is_dataclass(hint := type_of(type(config), item.name)):
            made = from_json(typing.cast(type, hint), value, f"{type(config).__name__}.{item.name}")
            object.__setattr__(config, item.name, made)


def _is_default(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and value == type(value)()


def to_json(config: Any) -> dict[str, Any]:
    """Convert a config to JSON values; the inverse of :func:`from_json`."""
    return json.loads(json.dumps(_plain(config), default=_number))


def _number(value: Any) -> Any:
    """Convert a number of NumPy or torch in a config to a Python number."""
    if callable(own := getattr(value, "item", None)):
        return own()
    raise RequestError(f"a config holds {short(value)}, which is no number, text, list or group; give one of these")


def _plain(value: Any) -> Any:
    if not dataclasses.is_dataclass(value):
        return value
    found = {item.name: _plain(getattr(value, item.name)) for item in plain_fields(type(value))}
    return found | {name: _plain(group) for name, group in groups_of(value).items()}


def groups_of(config: Any) -> dict[str, Any]:
    """Return the groups of ``config`` to save: those of built-ins, of selected names, and of names with given options."""
    if not isinstance(config, OpenConfig):
        return {}
    entries = [entry for registry in registries_of(type(config)) for entry in registry.entries() if entry.config]
    chosen = {name for _, name, _ in selected(config)}
    saved = [entry.name for entry in entries if entry.builtin or entry.name in chosen]
    return dict(config.options) | {name: getattr(config, name) for name in saved}


def given_options(group: Any) -> tuple[str, ...]:
    """Return the dotted names of the options in ``group`` that differ from their defaults."""
    return tuple(changed(to_json(type(group)()), to_json(group)))


def result_fields(config: Any) -> dict[str, Any]:
    """Convert a config to JSON without fields that do not change a job's results; the basis of cache keys."""
    found = {
        item.name: result_fields(value) if dataclasses.is_dataclass(value) else value
        for item in plain_fields(type(config))
        if facts_of(item).results
        for value in (getattr(config, item.name),)
    }
    return json.loads(json.dumps(found | {name: _plain(group) for name, group in groups_of(config).items()}))


def from_json(kind: type[C], data: dict[str, Any], where: str = "config") -> C:
    """Build a config from a dictionary. Earlier names of fields are accepted.

    Args:
        kind: The config class.
        data: Values by field.
        where: Prefix of the fields' names in error messages.

    Raises:
        RequestError: A field is unknown or missing, or a value is invalid.
    """
    if not isinstance(data, dict):
        raise RequestError(
            f"{where}: expected an object with the fields of {kind.__name__}, found {type(data).__name__}"
        )
    data = as_saved(kind, _with_present_names(kind, data, where))
    known = field_facts(kind)
    values = {
        name: _convert(_given(kind, name, value, where), value, f"{where}.{name}")
        for name, value in data.items()
        if name in known
    }
    for name, value in values.items():
        check_number(kind, name, value, where)
    groups = {name: _group(kind, name, value, where) for name, value in data.items() if name not in known}
    if groups:
        values["options"] = groups
    for item in plain_fields(kind):  # pyright: ignore[reportArgumentType]
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        check(not required or item.name in values, f"{where}.{item.name}: is missing; give it")
    try:
        return kind(**values)
    except TypeError as error:
        raise RequestError(f"{where}: {error}") from error


def _given(kind: type[Any], name: str, value: Any, where: str) -> Any:
    """Return the type of a field; raises RequestError if ``value`` is None where there is no such value."""
    hint = type_of(kind, name)
    if value is None and hint is not Any and type(None) not in typing.get_args(hint):
        raise RequestError(
            f"{where}.{name}: None is no value of this field; give one, or leave out a field with a default"
        )
    return hint


def _similar(kind: type[Any], name: str) -> str:
    """Return the field or group of ``kind`` that ``name`` may stand for, as the end of a message."""
    fields = [dotted for dotted, _ in walk(kind)]
    known = list(dict.fromkeys([*fields, *(group for dotted in fields if (group := dotted.rpartition(".")[0]))]))
    tops = list(dict.fromkeys(dotted.partition(".")[0] for dotted in fields))
    same = [dotted for dotted in known if f".{dotted}".endswith(f".{name}")]
    close = same[:1] or get_close_matches(name, tops, 1) or get_close_matches(name, known, 1)
    if not close:
        return f"; there are {', '.join(tops)}"
    group, dot, field = close[0].rpartition(".")
    return f"; did you mean {field} of the group {group}?" if dot else f"; did you mean {field}?"


def _group(kind: type[Any], name: str, value: Any, where: str) -> Any:
    """Convert a group of a registry. Groups of unregistered names stay JSON until their module is imported."""
    config = group_type(kind, name)
    if config is not None:
        return from_json(config, value, f"{where}.{name}")
    if not registries_of(kind) or not isinstance(value, dict):
        raise RequestError(f"{where}.{name}: unknown field of {kind.__name__}{_similar(kind, name)}")
    return value


def check_number(kind: type[Any], name: str, value: Any, where: str = "") -> None:
    """Raise RequestError if a number in the field ``name`` is beyond its limit (:attr:`Facts.most`)."""
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        field = f"{where}.{name}" if where else name
        most = field_facts(kind)[name].most
        most = most or (MOST if isinstance(number, int) else 0)
        check(not most or abs(number) <= most, f"{field}: must be at most {most}, found {short(number)}")


def check_numbers(config: Any, where: str = "") -> None:
    """Apply :func:`check_number` to all fields of ``config`` and of its groups."""
    for item in plain_fields(type(config)):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            check_numbers(value, f"{where}.{item.name}" if where else item.name)
        else:
            check_number(type(config), item.name, value, where)
    for name, group in getattr(config, "options", {}).items():
        if dataclasses.is_dataclass(group):
            check_numbers(group, f"{where}.{name}" if where else name)


def check_names(config: Any, where: str = "") -> None:
    """Raise RequestError if ``config`` contains a name or a group that is not registered."""
    for item in plain_fields(type(config)):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            check_names(value, f"{where}{item.name}.")
    for field, name, facts in selected(config):
        own = name.partition("@")[0]
        if name not in facts.also and not any(registry.find(own) for registry in facts.registries):
            raise RequestError(unknown(f"{where}{field}", own, facts.known))
    for name in getattr(config, "options", {}):
        if group_type(type(config), name) is None:
            raise _unknown_group(type(config), name, where)


def check_groups(kind: type[Any], data: Any, where: str = "") -> None:
    """Raise RequestError if ``data``, JSON values of a config, has a group that is not registered."""
    for name, value in data.items() if isinstance(data, dict) else ():
        below = type_of(kind, renamed(kind).get(name, name))
        if below is None and registries_of(kind):
            raise _unknown_group(kind, name, where)
        if dataclasses.is_dataclass(below):
            check_groups(typing.cast(type, below), value, f"{where}{name}.")


def _unknown_group(kind: type[Any], name: str, where: str) -> RequestError:
    remedy = "if a module registers it, name that in imports (--imports), or import it first"
    return RequestError(f"{where}{name}: unknown field of {kind.__name__}{_similar(kind, name)} ({remedy})")


def check_finite(config: Any, where: str = "") -> None:
    """Raise RequestError if a number in ``config`` is infinite or not a number."""
    for name, value in flat(to_json(config)).items():
        for number in value if isinstance(value, list) else (value,):
            finite(number, f"{where}{name}")


def _with_present_names(kind: type[Any], data: dict[str, Any], where: str) -> dict[str, Any]:
    names = renamed(kind)
    twice = [name for name in data if names.get(name) in data]
    if twice:
        raise RequestError(
            f"{where}.{twice[0]}: is the earlier name of {names[twice[0]]}, which is given too; give one"
        )
    return {names.get(name, name): value for name, value in data.items()}


def load_config(kind: type[C], raw: bytes, where: str) -> C:
    """Build a config from JSON text.

    Raises:
        RequestError: The text is not JSON, or not a valid config; the message starts with ``where``.
    """
    try:
        data = read_json(raw)
    except ValueError as error:
        raise RequestError(f"{where}: not JSON ({error})") from error
    return from_json(kind, data, where)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast(type, hint), value, where)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise RequestError(f"{where}: expected a list, found {short(value)}")
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, entry, f"{where}[{i}]") for i, entry in enumerate(value))
    if typing.get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise RequestError(f"{where}: expected an object, found {short(value)}")
        return {name: _convert(typing.get_args(hint)[1], entry, f"{where}.{name}") for name, entry in value.items()}
    if typing.get_origin(hint) is list:
        return list(_convert(tuple[typing.get_args(hint)[0], ...], value, where))
    return convert(hint, value, where)

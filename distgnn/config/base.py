"""What configs share: checks with a message, and JSON that can be fed back. Standard library only."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any, Literal, TypeVar

from distgnn.config.fields import facts_of, renamed
from distgnn.errors import RequestError

C = TypeVar("C")
YES_NO: dict[Any, bool | None] = {"yes": True, "no": False, "auto": None}
"""How earlier versions wrote values of ``bool | None``."""


def check(good: bool, message: str) -> None:
    """Raise RequestError with ``message`` unless ``good``."""
    if not good:
        raise RequestError(message)


def check_imports(names: tuple[str, ...]) -> None:
    """Raise RequestError unless ``names`` are dotted names of modules."""
    bad = [name for name in names if not all(part.isidentifier() for part in name.split("."))]
    check(not bad, f"imports: {bad[:1]} is not a dotted name of a Python module such as my_package.encoders")


def to_json(config: Any) -> dict[str, Any]:
    """A config as plain JSON values; the inverse of :func:`from_json`."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def result_fields(config: Any) -> dict[str, Any]:
    """A config as JSON without the fields that change no result of a job: what a job's cache key is made from."""
    return {
        item.name: result_fields(value) if dataclasses.is_dataclass(value) else json.loads(json.dumps(value))
        for item in dataclasses.fields(config)
        if facts_of(item).results
        for value in (getattr(config, item.name),)
    }


def read_json(raw: bytes | str) -> Any:
    """``json.loads`` whose every complaint is a ValueError, also about bytes that are no text and about endless nesting."""
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def from_json(kind: type[C], data: dict[str, Any], where: str = "config") -> C:
    """Build a config from a dictionary, whose fields may have earlier names; RequestError for an unknown or missing one."""
    if not isinstance(data, dict):
        raise RequestError(
            f"{where}: expected an object with the fields of {kind.__name__}, found {type(data).__name__}"
        )
    data = _with_present_names(kind, data, where)
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(data) - {item.name for item in dataclasses.fields(kind)})  # pyright: ignore[reportArgumentType]
    if unknown:
        raise RequestError(f"{where}.{unknown[0]}: unknown field of {kind.__name__}")
    values = {name: _convert(hints[name], value, f"{where}.{name}") for name, value in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise RequestError(f"{where}: {error}") from error


def _with_present_names(kind: type[Any], data: dict[str, Any], where: str) -> dict[str, Any]:
    names = renamed(kind)
    twice = [name for name in data if names.get(name) in data]
    if twice:
        raise RequestError(
            f"{where}.{twice[0]}: is the earlier name of {names[twice[0]]}, which is given too; give one"
        )
    return {names.get(name, name): value for name, value in data.items()}


def load_config(kind: type[C], raw: bytes, where: str) -> C:
    """A config from JSON text; raises RequestError naming ``where``."""
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
            raise RequestError(f"{where}: expected a list, found {value!r}")
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, entry, f"{where}[{i}]") for i, entry in enumerate(value))
    if typing.get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise RequestError(f"{where}: expected an object, found {value!r}")
        return {name: _convert(typing.get_args(hint)[1], entry, f"{where}.{name}") for name, entry in value.items()}
    if hint is Any:
        return value
    if hint == (bool | None):
        return _convert_choice(value, where)
    if typing.get_origin(hint) is list:
        return list(_convert(tuple[typing.get_args(hint)[0], ...], value, where))
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise RequestError(f"{where}: must be one of {', '.join(map(str, typing.get_args(hint)))}, found {value!r}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise RequestError(f"{where}: expected {hint.__name__}, found {value!r}")
    return value


def _convert_choice(value: Any, where: str) -> bool | None:
    """A ``bool | None``, which configs of earlier versions hold as "yes", "no" or "auto"."""
    if value is None or isinstance(value, bool):
        return value
    if value not in YES_NO:
        raise RequestError(f"{where}: expected true, false or null, found {value!r}")
    return YES_NO[value]

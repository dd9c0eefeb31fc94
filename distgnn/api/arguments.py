"""Arguments of the API functions: a config object, keyword options, or both."""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from distgnn.config import from_json, to_json
from distgnn.config.base import check_groups, check_imports, check_names
from distgnn.errors import RequestError
from distgnn.register import import_modules

C = TypeVar("C")


def build_config(kind: type[C], config: C | None, options: Mapping[str, Any]) -> C:
    """Build the config of an API call.

    Args:
        kind: Config class.
        config: Config to start from, or None.
        options: Values of fields. A group of fields may be a config object or a dictionary; a single value is accepted for a
            field that takes several; paths, runs and corpora are accepted for URIs.

    Returns:
        ``config`` with ``options`` on top. The modules of its ``imports`` are imported first, and every name and group in it
        is registered.

    Raises:
        RequestError: An option is unknown, has the wrong type or an invalid value, or a module cannot be imported.
    """
    if config is not None and not isinstance(config, kind):
        raise RequestError(
            f"config: expected {kind.__name__}, found {type(config).__name__}; give its fields by name, such as"
            f" {dataclasses.fields(typing.cast(Any, kind))[0].name}=..."
        )
    fields = to_json(config) if config is not None else {}
    merged = _merged(fields, {name: _plain(value) for name, value in options.items()}, kind)
    import_named(merged)
    check_groups(kind, merged, f"{kind.__name__}.")
    chosen = from_json(kind, merged, kind.__name__)
    check_names(chosen, f"{kind.__name__}.")
    return chosen


def import_named(options: Any) -> None:
    """Import the modules of ``imports`` anywhere in the options of an API call.

    Raises:
        RequestError: A name is no dotted name of a module, or the module cannot be imported.
    """
    names = tuple(sorted(code_names(options, ("imports",))))
    check_imports(names)
    import_modules(names)


def code_names(options: Any, fields: tuple[str, ...] = ("imports", "library")) -> set[str]:
    """Return the names of code (the values of ``fields``) anywhere in the options of an API call."""
    value = _plain(options)
    if not isinstance(value, dict):
        return set()
    own = [value[name] for name in fields if name in value]
    listed = {
        name
        for found in own
        for name in (found if isinstance(found, list) else [found])
        if isinstance(name, str) and name
    }
    return listed.union(*(code_names(below, fields) for below in value.values()))


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _merged(fields: dict[str, Any], options: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    merged = dict(fields)
    for name, value in options.items():
        hint = hints.get(name)
        if isinstance(value, str | int | float) and typing.get_args(hint)[1:] == (...,):
            value = [value]
        if isinstance(value, dict) and dataclasses.is_dataclass(hint):
            value = _merged(fields.get(name, {}), value, typing.cast(type, hint))
        elif isinstance(value, dict) and isinstance(fields.get(name), dict):
            value = fields[name] | value
        merged[name] = value
    return merged

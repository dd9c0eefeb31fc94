"""Config classes as tyro parses them: with a field for each group of options from a registry.

tyro generates flags from dataclass fields, so a class with groups from registries is parsed as a subclass that has the
groups as fields. Help texts are those of the original class.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import docstring_parser
import tyro

from distgnn.config.base import OpenConfig
from distgnn.config.fields import facts_of, group_types, plain_fields, type_of
from distgnn.register import changes_of_registries

C = TypeVar("C")


def opened_type(kind: type[Any], with_help: bool = False) -> type[Any]:
    """Return ``kind``, or a subclass with the groups as fields if it has any groups.

    Args:
        kind: A config class.
        with_help: Give every field its help text, without the line breaks of the source. It takes time.
    """
    return _opened_type(kind, with_help, changes_of_registries())


@functools.lru_cache(256)
def _opened_type(kind: type[Any], with_help: bool, state: int) -> type[Any]:
    """Make the class once for each state of the registries."""
    del state
    changes: list[tuple[str, Any, Any]] = []
    for item in plain_fields(kind):
        hint = type_of(kind, item.name)
        if dataclasses.is_dataclass(hint):
            below = opened_type(cast(type, hint), with_help)
            text = _docstring(kind, item.name) or _description(below)
            changes.append((item.name, below, _default(item, text, below)))
        elif with_help or facts_of(item).names:
            text = _docstring(kind, item.name) if with_help else None
            marked = get_type_hints(kind, include_extras=True)[item.name]  # positional, for instance
            changes.append((item.name, _named(item, hint) if facts_of(item).names else marked, _default(item, text)))
    for name, config in group_types(kind).items():
        below, metadata = opened_type(config, True) if with_help else config, {"help": _description(config)}
        changes.append((name, below, dataclasses.field(default_factory=below, kw_only=True, metadata=metadata)))
    if not changes:
        return kind
    if issubclass(kind, OpenConfig):
        changes.append(
            ("options", tyro.conf.Suppress[tyro.conf.Fixed[Any]], dataclasses.field(default_factory=dict, kw_only=True))
        )
    created = dataclasses.make_dataclass(kind.__name__, changes, bases=(kind,), frozen=True)
    created.__doc__ = kind.__doc__
    return created


def _docstring(kind: type[Any], field: str) -> str:
    """Return the docstring of a field; empty if it has none."""
    owner = next(base for base in kind.__mro__ if field in inspect.get_annotations(base))
    found = (doc.description for doc in docstring_parser.parse_from_object(owner).params if doc.arg_name == field)
    return re.sub(r"(?<!\n)\n[ \t]*(?!\n)", " ", (next(found, None) or "").strip())


def _description(group: type[Any]) -> str:
    """Return the description in the docstring of a group; empty if dataclasses generated the docstring."""
    text = group.__doc__ or ""
    return "" if text.startswith(f"{group.__name__}(") else docstring_parser.parse(text).description or ""


def _default(item: dataclasses.Field[Any], help_text: str | None, below: type[Any] | None = None) -> Any:
    """Return a field with the default of ``item``, converted to ``below``.

    Groups get their help text here, since tyro would search the source of their classes for comments at every start.
    """
    metadata = {} if help_text is None else {"help": help_text}
    if item.default_factory is not dataclasses.MISSING:
        factory = item.default_factory
        return dataclasses.field(
            default_factory=lambda: factory() if below is None else opened(factory(), below),
            kw_only=True,
            metadata=metadata,
        )
    if item.default is dataclasses.MISSING:
        return dataclasses.field(kw_only=True, metadata=metadata)
    return dataclasses.field(default=item.default, kw_only=True, metadata=metadata)


def _named(item: dataclasses.Field[Any], hint: Any) -> Any:
    facts = facts_of(item)
    names = "|".join(facts.known)
    return Annotated[hint, tyro.conf.arg(metavar=f"{{{names}}}" if hint is str else f"[{{{names}}} ...]")]


def opened(config: Any, kind: type[Any]) -> Any:
    """Convert ``config`` to an instance of ``kind``, which :func:`opened_type` made from its class."""
    if type(config) is kind:
        return config
    values = {}
    for item in dataclasses.fields(kind):
        if item.name == "options" and isinstance(config, OpenConfig):
            continue
        value, hint = getattr(config, item.name), item.type
        below = isinstance(hint, type) and dataclasses.is_dataclass(hint) and dataclasses.is_dataclass(value)
        values[item.name] = opened(value, cast(type, hint)) if below else value
    return kind(**values)


def closed(config: Any, kind: type[C]) -> C:
    """Convert ``config``, an instance of a class from :func:`opened_type`, to the original class ``kind``."""
    if type(config) is kind:
        return config
    values: dict[str, Any] = {}
    for item in plain_fields(kind):
        hint, value = type_of(kind, item.name), getattr(config, item.name)
        values[item.name] = closed(value, cast(type, hint)) if dataclasses.is_dataclass(hint) else value
    if issubclass(kind, OpenConfig):
        values["options"] = {name: getattr(config, name) for name in group_types(kind)}
    return kind(**values)

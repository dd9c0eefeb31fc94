"""The one place where JSON files are read: bounded in size and depth, and converted to typed records whose fields have limits.

A record is a dataclass or NamedTuple; msgspec checks the types and the limits of its fields. :func:`read_config` reads
the configs of commands in the same way.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from distgnn.config.base import from_json
from distgnn.config.values import read_json
from distgnn.errors import RequestError
from distgnn.storage.folder import Folder

R = TypeVar("R")
MAX_BYTES = 16 << 20
"""Largest JSON file, unless the caller sets another limit."""

Count = Annotated[int, Meta(ge=0, le=1 << 48)]
"""Number of graphs, nodes, steps or bytes."""
Positive = Annotated[int, Meta(ge=1, le=1 << 48)]
Small = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
Name = Annotated[str, Meta(max_length=4096)]
MAX_TEXT = 1 << 16
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Finite = Annotated[float, Meta(ge=-1.7e308, le=1.7e308)]
Seconds = Annotated[float, Meta(ge=0, le=1e11)]
"""A duration, or seconds since 1970."""


def read_record(folder: Folder, name: str, kind: type[R], what: str, remedy: str = "", limit: int = MAX_BYTES) -> R:
    """Read the JSON file ``name`` of ``folder`` as a record.

    Args:
        folder: The folder.
        name: The file.
        kind: Type of the record.
        what: What the file should be, for the message, such as "a corpus manifest".
        remedy: What to do if it is not.
        limit: Largest size in bytes.

    Raises:
        RequestError: The file is missing, too large, not JSON, or not such a record.
    """
    return parse_record(folder.read(name, limit), kind, folder.at(name), what, remedy)


def read_config(folder: Folder, name: str, kind: type[R], limit: int = MAX_BYTES) -> R:
    """Read the config of a command, as saved in a folder. Raises RequestError like :func:`read_record`."""
    return from_json(kind, parse_object(folder.read(name, limit), folder.at(name), "a config"), folder.at(name))


def parse_object(raw: bytes | str, where: str, what: str, remedy: str = "") -> dict[str, Any]:
    """Parse a JSON object; ``where`` and ``what`` are for the message."""
    try:
        value = read_json(raw)
    except ValueError as error:
        raise _refused(where, what, str(error), remedy) from error
    if not isinstance(value, dict):
        raise _refused(where, what, f"expected an object, found {type(value).__name__}", remedy)
    return value


def parse_record(raw: bytes | str, kind: type[R], where: str, what: str, remedy: str = "") -> R:
    """Parse a JSON object as a record; see :func:`read_record`."""
    return convert(parse_object(raw, where, what, remedy), kind, where, what, remedy)


def convert(value: Any, kind: type[R], where: str, what: str, remedy: str = "") -> R:
    """Convert JSON values to a record; unknown fields, wrong types and numbers beyond their limits raise RequestError."""
    try:
        _check_fields(kind, value, "")
        return msgspec.convert(value, kind, strict=True)
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        raise _refused(where, what, str(error), remedy) from error


def read_records(values: Any, kind: type[R], where: str, what: str) -> list[R]:
    """Read the known fields of a list of records; raises RequestError if one is malformed."""
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise RequestError(f"{where}: not {what} (records: expected a list of objects)")
    known = {item.name for item in dataclasses.fields(typing.cast(Any, kind))}
    return [
        convert({name: value for name, value in record.items() if name in known}, kind, where, what)
        for record in values
    ]


def check_version(data: dict[str, Any], known: int, where: str, what: str, remedy: str = "") -> None:
    """Raise RequestError unless ``data`` has the format version ``known``; a later version is called so."""
    found = data.get("version")
    if found == known and isinstance(found, int) and not isinstance(found, bool):
        return
    if isinstance(found, int) and found > known:
        raise RequestError(
            f"{where}: written by a newer version of distgnn (format version {found}, this one reads {known}); update distgnn"
        )
    if found is None:
        raise _refused(where, what, "the field 'version' is missing", remedy)
    raise RequestError(f"{where}: format version {str(found)[:40]} is unknown; this distgnn reads version {known}")


def _refused(where: str, what: str, reason: str, remedy: str) -> RequestError:
    return RequestError(f"{where}: not {what} ({reason[:300]}){f'; {remedy}' if remedy else ''}")


def _check_fields(kind: Any, value: Any, path: str) -> None:
    """Refuse unknown fields of dataclasses, at any depth; msgspec ignores them."""
    if typing.get_origin(kind) is Annotated:
        kind = typing.get_args(kind)[0]
    inner = [item for item in typing.get_args(kind) if item is not type(None) and item is not ...]
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = typing.get_type_hints(kind, include_extras=True)
        known = {item.name for item in dataclasses.fields(kind)}
        unknown = [name for name in value if name not in known]
        if unknown:
            raise ValueError(f"{path}{unknown[0][:80]!r} is an unknown field; is the file of a newer version?")
        for name, item in value.items():
            _check_fields(hints[name], item, f"{path}{name}.")
    elif inner and isinstance(value, dict):
        for name, item in value.items():
            _check_fields(inner[-1], item, f"{path}{name}.")
    elif inner and isinstance(value, list):
        for item in value:
            _check_fields(inner[0], item, path)

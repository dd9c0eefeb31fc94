"""JSON that others may have written, and the conversion of its single values to types of fields. Standard library only."""

from __future__ import annotations

import json
import math
import re
import types
import typing
from typing import Any, Literal

from distgnn.errors import RequestError

YES_NO: dict[Any, bool | None] = {"yes": True, "no": False, "auto": None}
"""Values of ``bool | None`` in configs of earlier versions."""
MAX_DEPTH = 64
"""Largest nesting of a JSON file."""
_MAX_INT = 1 << 64
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def read_json(raw: bytes | str) -> Any:
    """Parse JSON that others may have written.

    Every malformed input raises ValueError: invalid UTF-8, deep nesting, a key given twice, an integer beyond 64 bits, and
    text that is not Unicode. NaN and infinity are read, as Python writes them.
    """
    try:
        text = raw.decode("utf-8-sig") if isinstance(raw, bytes) else raw
        value = json.loads(text, parse_int=_integer, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError(f"nested more than {MAX_DEPTH} deep") from error
    _check_depth(value)
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError
    return value


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) <= len(str(_MAX_INT)) + 1 else _MAX_INT
    if not -_MAX_INT < value < _MAX_INT:
        raise ValueError(f"the number {digits[:24]}... has more than 64 bits")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"the key {twice!r} occurs twice")
    return found


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
        inner = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [child for items in inner for child in items if isinstance(child, dict | list)]


def convert(hint: Any, value: Any, where: str) -> Any:
    """Convert a value to the type of a field that is no list, object or group.

    Raises:
        RequestError: It is of another type, or not finite.
    """
    if hint is Any:
        return value
    if hint == (bool | None):
        return _convert_choice(value, where)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return _convert_union(hint, value, where)
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise RequestError(
                f"{where}: must be one of {', '.join(map(str, typing.get_args(hint)))}, found {short(value)}"
            )
        return value
    return _convert_leaf(hint, value, where)


def _convert_union(hint: Any, value: Any, where: str) -> Any:
    """Convert a whole number, or one of the texts of a Literal."""
    texts = [text for kind in typing.get_args(hint) for text in typing.get_args(kind)]
    if value in texts:
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError(f"{where}: expected a whole number or {' or '.join(texts)}, found {short(value)}")
    return value


def _convert_leaf(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return _as_float(value, where)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise RequestError(f"{where}: expected {hint.__name__}, found {short(value)}")
    return finite(value, where)


def _as_float(value: int, where: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise RequestError(f"{where} must be a finite number, found one of {len(str(value))} digits") from error


def short(value: Any) -> str:
    """``repr`` of a value of a file, cut to a length that suits a message."""
    if isinstance(value, int) and not -_MAX_INT < value < _MAX_INT:
        return "a number of more than 64 bits"
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _convert_choice(value: Any, where: str) -> bool | None:
    """Convert a ``bool | None``; configs of earlier versions contain "yes", "no" or "auto"."""
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, str) or value not in YES_NO:
        raise RequestError(f"{where}: expected true, false or null, found {short(value)}")
    return YES_NO[value]


def finite(value: Any, where: str) -> Any:
    """Return ``value``; raises RequestError if it is infinite or not a number."""
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestError(f"{where} must be a finite number, found {value}")
    return value

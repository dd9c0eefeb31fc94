"""Domains of hyperparameters and their syntax: ``lo..hi``, ``lo..hi/step``, ``log(lo,hi)``, ``{a,b,c}``.

A value is an int, float, bool or string, according to the type of the field. Items of a list of strings are joined by "+".
"""

from __future__ import annotations

import re
import typing
from dataclasses import dataclass
from typing import Any, Literal, cast

from distgnn.errors import RequestError

Value = int | float | bool | str
MAX_POINTS = 1_000_000
"""Maximum number of points of a discrete range."""
_TRUTH = {"true": True, "false": False, "yes": True, "no": False}
_LOG = re.compile(r"log\(([^,()]+),([^,()]+)\)")
_RANGE = re.compile(r"(?P<low>[^/]+?)\.\.(?P<high>[^/]+?)(/(?P<step>[^/]+))?")


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, inclusive, distributed uniformly or log-uniformly.

    Attributes:
        kind: Type of the numbers.
        low: Lower bound.
        high: Upper bound.
        step: Distance of the points from ``low``; 0 for all numbers.
        log: Whether the distribution is uniform in the logarithm.
    """

    kind: Literal["int", "float"]
    low: float
    high: float
    step: float = 0.0
    log: bool = False

    def number(self, value: float) -> int | float:
        """Convert ``value`` to a number of this kind."""
        return round(value) if self.kind == "int" else float(value)

    def points(self) -> tuple[Value, ...]:
        """Return all values; empty if the range is continuous or logarithmic."""
        step = self.step or (1.0 if self.kind == "int" and not self.log else 0.0)
        if not step:
            return (self.number(self.low),) if self.low == self.high else ()
        count = int((self.high - self.low) / step + 1e-9) + 1
        # rounded to 12 digits: 0.6 instead of 0.6000000000000001
        return tuple(self.number(float(f"{self.low + place * step:.12g}")) for place in range(count))

    def nearest(self, value: float) -> int | float:
        """Return the point nearest to ``value`` if the range is discrete, else ``value`` as a number of this kind."""
        points = cast(tuple[float, ...], self.points())
        return self.number(min(points, key=lambda point: abs(point - value)) if points else value)

    def ends(self) -> tuple[Value, ...]:
        """Return the bounds, which are used to validate the domain against its field."""
        return (self.number(self.low), self.number(self.high))

    def contains(self, value: Value) -> bool:
        """Return whether ``value`` is in the range."""
        if isinstance(value, str | bool) or not self.low <= value <= self.high:
            return False
        return not self.step or abs((value - self.low) / self.step - round((value - self.low) / self.step)) < 1e-9

    def contains_rounded(self, value: Value) -> bool:
        """Return whether ``value`` is in the range, up to the rounding of bounds that were saved as text."""
        if isinstance(value, str | bool):
            return False
        slack = 1e-5 * max(abs(self.low), abs(self.high))
        return self.low - slack <= value <= self.high + slack and self.contains(self.clipped(value))

    def clipped(self, value: Value) -> Value:
        """Return ``value``, or the bound that it exceeds."""
        return value if isinstance(value, str | bool) else min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """A finite set of values."""

    values: tuple[Value, ...]

    def points(self) -> tuple[Value, ...]:
        """Return all values."""
        return self.values

    ends = points

    def contains(self, value: Value) -> bool:
        """Return whether ``value`` is one of the values."""
        return any(value == known and type(value) is type(known) for known in self.values)

    contains_rounded = contains

    def clipped(self, value: Value) -> Value:
        """Return ``value``."""
        return value


def read_domain(domain: str, hint: Any, text: str) -> Range | Choice:
    """Parse a domain.

    Args:
        domain: Text of the domain.
        hint: Type of the field.
        text: The complete argument of ``--space``, for messages.

    Raises:
        RequestError: If the text is malformed or does not fit the type.
    """
    if domain.startswith("{") and domain.endswith("}"):
        items = [item.strip() for item in domain[1:-1].split(",")]
        if items == [""] or "" in items:
            raise RequestError(f"space {text}: an empty choice; give {{a,b,c}}")
        values = tuple(_value(item, hint, text) for item in items)
        if len(set(map(repr, values))) < len(values):
            raise RequestError(f"space {text}: names a value twice")
        return Choice(values)
    if hint not in (int, float):
        raise RequestError(f"space {text}: this field takes a choice such as {{{_example(hint)}}}, not a range")
    if found := _LOG.fullmatch(domain):
        return _range(hint, found[1], found[2], "", text, log=True)
    if found := _RANGE.fullmatch(domain):
        return _range(hint, found["low"], found["high"], found["step"] or "", text, log=False)
    raise RequestError(f"space {text}: not lo..hi, lo..hi/step, log(lo,hi) or {{a,b,c}}")


def _range(hint: Any, low: str, high: str, step: str, text: str, *, log: bool) -> Range:
    ends = [_value(item, hint, text) for item in (low, high, *([step] if step else []))]
    first, last, by = (*(float(typing.cast(float, end)) for end in ends), 0.0)[:3]
    if first > last:
        raise RequestError(f"space {text}: an empty range, {low.strip()} is above {high.strip()}")
    if log and first <= 0:
        raise RequestError(f"space {text}: log(lo,hi) needs numbers above 0")
    if step and by <= 0:
        raise RequestError(f"space {text}: the step must be above 0")
    unit = by or (1.0 if hint is int and not log else 0.0)
    if unit and (last - first) / unit > MAX_POINTS:
        raise RequestError(f"space {text}: more than {MAX_POINTS} points; give a larger step, or log(lo,hi)")
    return Range("int" if hint is int else "float", first, last, by, log)


def _value(item: str, hint: Any, text: str) -> Value:
    item = item.strip()
    if hint in (bool, bool | None) and item in _TRUTH:
        return _TRUTH[item]
    if typing.get_origin(hint) is Literal:
        known = {str(value): value for value in typing.get_args(hint)}
        if item in known:
            return known[item]
        raise RequestError(f"space {text}: {item!r} is none of {', '.join(known)}")
    if hint is str or _texts(hint):
        return item
    try:
        if hint in (int, float):
            found = hint(item)
            if abs(found) < float("inf"):  # False for NaN, too
                return found
    except ValueError:
        pass
    name = getattr(hint, "__name__", str(hint))
    raise RequestError(f"space {text}: {item!r} is not a value of this field ({name})")


def _texts(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple and typing.get_args(hint)[0] is str


def _example(hint: Any) -> str:
    if hint in (bool, bool | None):
        return "true,false"
    return ",".join(map(str, typing.get_args(hint))) if typing.get_origin(hint) is Literal else "a,b"


def format_domain(domain: Range | Choice) -> str:
    """Format ``domain`` in the syntax that :func:`read_domain` parses."""
    if isinstance(domain, Choice):
        return (
            "{"
            + ",".join(str(value).lower() if isinstance(value, bool) else str(value) for value in domain.values)
            + "}"
        )
    low, high = (f"{domain.number(end):g}" for end in (domain.low, domain.high))
    if domain.log:
        return f"log({low},{high})"
    return f"{low}..{high}" + (f"/{domain.step:g}" if domain.step else "")

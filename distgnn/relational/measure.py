"""Measurements of columns, from which kinds are read and keys and times are proposed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as _compute

from distgnn.errors import RequestError
from distgnn.relational.encode import encode, is_text, times_of_text
from distgnn.relational.formats import decimal_mark, spread, time_formats
from distgnn.relational.schema import Column, Kind, Unit

pc: Any = _compute  # its functions are made at run time
MARKS = ("\\N", "?", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "None", "nan", "NaN", "-")
"""Texts that are read as missing in a column whose other values are all numbers, or all times."""
MAX_CATEGORIES = 1000
_NUMBER = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?\s*$"
_PADDED = r"^\s*[+-]?0\d"
_SAMPLE = 4096
_DAY = "%Y%m%d"
_EPOCHS = (
    (Unit.JULIAN, 2.3e6, 2.6e6),
    (Unit.SECONDS, 1e8, 5e9),
    (Unit.MILLISECONDS, 1e11, 5e12),
    (Unit.MICROSECONDS, 1e14, 5e15),
    (Unit.NANOSECONDS, 1e17, 5e18),
)
_TIMELY = re.compile(
    r"(^|_)(date|time|datetime|timestamp|ts|epoch|unix|julian|day|at|on|when|since|until|from|start|begin|end|stop|open|close|sent|seen"
    r"|m?sec|ms|[a-z]{2,}ed)($|_)|date|stamp|datum",
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_OTHER_TIMES = re.compile(
    r"birth|born|dob|geburt|naissance|nacimiento|death|died|due|deadline|required|expir|end|until|finish|clos|return|ship|deliver"
    r"|updat|modif|delet|last|next",
    re.I,
)
_PLANS = re.compile(
    r"birth|born|dob|geburt|due|deadline|required|expir|until|valid|plan|sched|expected|estimat|target|next", re.I
)


@dataclass(frozen=True)
class Measured:
    """A column and what its kind was read from.

    Attributes:
        column: The column.
        guess: Why the kind is a guess that the user must confirm; "" if the values leave no doubt.
    """

    column: Column
    guess: str = ""


def measured(name: str, values: pa.ChunkedArray) -> Measured:
    """Read the kind of a column from its values.

    Times, truth values and numbers have the kind of their type; a text column holds numbers or times if every value is one
    (but for the missing ones of :data:`MARKS`), else categories if it has at most 1,000 and each is there twice on average.
    """
    kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Measured(Column(name, Kind.TIME))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _number(name, values)
    if is_text(kind):
        return _text(name, values)
    return Measured(Column(name, Kind.NUMBER if pa.types.is_duration(kind) else Kind.CATEGORY))


def _number(name: str, values: pa.ChunkedArray, nulls: tuple[str, ...] = ()) -> Measured:
    if _TIMELY.search(_CAMEL.sub("_", name).lower()):
        low, high = pc.min_max(values).as_py().values()
        for unit, least, most in _EPOCHS:
            if low is not None and least <= low and high <= most:
                column = Column(name, Kind.TIME, unit=unit, nulls=nulls)
                what = "Julian days" if unit is Unit.JULIAN else f'times since 1970 in unit "{unit.value}"'
                return Measured(column, f"numbers from {low} to {high} look like {what}")
        if pa.types.is_integer(values.type) and low is not None and low >= 19_000_101 and high <= 21_001_231:
            text = spread(values).cast(pa.large_string())
            if time_formats(text, pa.nulls(len(text))) == (_DAY,):
                return Measured(
                    Column(name, Kind.TIME, formats=(_DAY,)), f"numbers from {low} to {high} look like dates"
                )
    return Measured(Column(name, Kind.NUMBER, nulls=nulls))


def _text(name: str, values: pa.ChunkedArray) -> Measured:
    missing = pa.array([*MARKS], values.type)
    for test, kind in ((_all_numbers, Kind.NUMBER), (_all_times, Kind.TIME)):
        sample = values.slice(0, _SAMPLE)
        if test(sample.filter(pc.invert(pc.is_in(sample, value_set=missing)))):
            marked = pc.is_in(values, value_set=missing)
            rest = values.filter(pc.invert(marked))
            if len(rest) > rest.null_count and test(rest):
                nulls = tuple(sorted(pc.unique(values.filter(marked)).to_pylist()))
                if kind is Kind.NUMBER:
                    return _number(name, _as_numbers(rest), nulls)
                return Measured(Column(name, kind, nulls=nulls))
    formatted = _formatted(name, values.filter(pc.invert(pc.is_in(values, value_set=missing))), values, missing)
    if formatted:
        return formatted
    distinct, count = pc.count_distinct(values).as_py(), len(values) - values.null_count
    return Measured(Column(name, Kind.CATEGORY if distinct <= MAX_CATEGORIES and 2 * distinct <= count else Kind.TEXT))


def _formatted(name: str, rest: pa.ChunkedArray, values: pa.ChunkedArray, missing: pa.Array) -> Measured | None:
    """Read times and numbers that are not written plainly; such a reading is a guess."""
    sample = spread(rest)
    if len(sample) == sample.null_count:
        return None
    mark, kind = decimal_mark(pa.chunked_array([sample])), Kind.NUMBER
    formats = (mark,) if mark and decimal_mark(rest) == mark else ()
    if not formats:
        formats, kind = time_formats(sample, times_of_text(sample)), Kind.TIME
    if not formats:
        return None
    nulls = tuple(sorted(pc.unique(values.filter(pc.is_in(values, value_set=missing))).to_pylist()))
    example = sample.drop_null()[0].as_py()[:40]
    told = (
        f"numbers with the decimal mark {mark!r}"
        if kind is Kind.NUMBER
        else f"times in the form {' or '.join(formats)}"
    )
    return Measured(Column(name, kind, nulls=nulls, formats=formats), f"texts such as {example!r} look like {told}")


def _as_numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    whole = pc.all(pc.match_substring_regex(values, pattern=r"^[+-]?\d{1,18}$")).as_py()
    return pc.utf8_trim_whitespace(values).cast(pa.int64() if whole else pa.float64())


def _all_numbers(values: pa.ChunkedArray) -> bool:
    right = pc.and_(
        pc.match_substring_regex(values, pattern=_NUMBER), pc.invert(pc.match_substring_regex(values, pattern=_PADDED))
    )
    return pc.all(right).as_py() is not False


def _all_times(values: pa.ChunkedArray) -> bool:
    return all(times_of_text(chunk).null_count == chunk.null_count for chunk in values.chunks)


def is_key(values: pa.ChunkedArray) -> bool:
    """Whether the values are unique, without nulls, and integers or text."""
    right = pa.types.is_integer(values.type) or is_text(values.type)
    if not right or values.null_count or not len(values):
        return False
    sample = values.slice(0, _SAMPLE)
    return pc.count_distinct(sample).as_py() == len(sample) and pc.count_distinct(values).as_py() == len(values)


def as_key(values: pa.ChunkedArray) -> pa.Array | None:
    """Return values as keys are stored: int64 or text; None if they cannot be keys."""
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or is_text(kind)):
        return None
    if pa.types.is_floating(kind) and not pc.all(pc.equal(pc.floor(values), values)).as_py():
        return None
    try:
        return encode(values, Column("key", Kind.KEY), "").arrays[""]
    except RequestError:  # integers beyond int64
        return None


def inclusion(values: pa.Array, keys: pa.Array) -> tuple[int, int]:
    """Return how many distinct values there are, and how many of them are among the keys."""
    distinct = pc.unique(values).drop_null()
    if distinct.type != keys.type:
        return len(distinct), 0
    return len(distinct), pc.sum(pc.is_in(distinct, value_set=keys)).as_py() or 0


def names_other_time(column: str) -> bool:
    """Whether the name of a time says that it is not when its row became known: birth, due date, last update."""
    return bool(_OTHER_TIMES.search(column))


def names_plan(column: str) -> bool:
    """Whether the name of a time says that it may be known before it comes: a due date, an end of validity, or a birth."""
    return bool(_PLANS.search(column))


def singulars(table: str) -> Iterator[str]:
    """Iterate over forms of a table's name that columns use: customers, customer; categories, category; Kunden, Kunde."""
    name = plain(table)
    yield name
    for ending, other in (("ies", "y"), ("es", ""), ("s", ""), ("n", "")):
        if name.endswith(ending) and len(name) > len(ending) + 1:
            yield name[: -len(ending)] + other


def plain(name: str) -> str:
    """Return a name in lower case without separators."""
    return re.sub(r"[^a-z0-9]", "", name.rpartition(".")[2].lower())


def names_key(column: str, table: str) -> bool:
    """Whether a column is called as the key of its own table: id, customer_id, customerid."""
    name = plain(column)
    endings = ("id", "key", "no", "nr", "code", "number")
    return name in ("id", "key", "code") or any(
        name in (one, *(one + end for end in endings)) for one in singulars(table)
    )


def names_parent(column: str, table: str, key: str) -> bool:
    """Whether a column is called as a reference to the ``key`` of ``table``: customer_id, home_customer_id, customer."""
    name, own = plain(column), plain(key)
    if own not in ("id", "key", "code") and (name == own or (len(own) > 3 and name.endswith(own))):
        return True
    ends = tuple(one + end for one in singulars(table) for end in ("", "id", "key", "code", "no", "nr") if len(one) > 2)
    return name.endswith(ends)

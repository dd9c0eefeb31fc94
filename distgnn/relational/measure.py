"""Measurements of columns, from which kinds are read and keys and times are proposed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as _compute

from distgnn.errors import RequestError
from distgnn.relational.encode import encode, is_text, micros, times_of_text
from distgnn.relational.formats import numbers_in, spread, time_formats, times_found
from distgnn.relational.names import names_time
from distgnn.relational.schema import Column, Kind, Unit

pc: Any = _compute  # its functions are made at run time
MARKS = (
    *("\\N", "?", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "None", "none", "nan", "NaN", "NaT", "-", "--"),
    *("unknown", "Unknown", "UNKNOWN", "#REF!", "#VALUE!", "#DIV/0!"),
    *("0000-00-00", "0000-00-00 00:00:00", "00.00.0000", "00/00/0000"),
)
"""Texts that are read as missing in a column whose other values are numbers, or times."""
MAX_CATEGORIES = 1000
_NUMBER = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?\s*$"
_PADDED = r"^\s*[+-]?0\d"
_SAMPLE = 4096
_MOST, _SAMPLED = 0.98, 0.95
_OTHERS, _LONGEST = 20, 100
_DAY, _DAYS = "%Y%m%d", (19_000_101, 21_001_231)
_EPOCHS = (
    (Unit.JULIAN, 2.3e6, 2.6e6),
    (Unit.SECONDS, 1e8, 5e9),
    (Unit.MILLISECONDS, 1e11, 5e12),
    (Unit.MICROSECONDS, 1e14, 5e15),
    (Unit.NANOSECONDS, 1e17, 5e18),
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

    Times, truth values and numbers have the kind of their type; a text column holds numbers or times if 98 % of its values are
    (but for the missing ones of :data:`MARKS`), else categories if it has at most 1,000 and each is there twice on average. That
    some values are no numbers or times makes the kind a guess; if they are few, they are proposed as ``nulls``.
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
    if names_time(name):
        for unit, least, most in _EPOCHS:
            inside = _between(values, least, most)
            if inside is not None:
                what = "Julian days" if unit is Unit.JULIAN else f'times since 1970 in unit "{unit.value}"'
                return _numbers_as_times(Column(name, Kind.TIME, unit=unit, nulls=nulls), values, inside, what)
        days = _between(values, *_DAYS) if pa.types.is_integer(values.type) else None
        if days is not None:
            text = spread(values.filter(days)).cast(pa.large_string())
            if time_formats(text, pa.nulls(len(text))) == (_DAY,):
                return _numbers_as_times(Column(name, Kind.TIME, formats=(_DAY,), nulls=nulls), values, days, "dates")
    return Measured(Column(name, Kind.NUMBER, nulls=nulls))


def _between(values: pa.ChunkedArray, least: float, most: float) -> pa.ChunkedArray | None:
    """Which values are between two bounds; None if fewer than 98 % are."""
    inside = pc.and_(pc.greater_equal(values, least), pc.less_equal(values, most))
    count = pc.sum(inside).as_py() or 0
    return inside if count and count >= _MOST * (len(values) - values.null_count) else None


def _numbers_as_times(column: Column, values: pa.ChunkedArray, inside: pa.ChunkedArray, what: str) -> Measured:
    low, high = pc.min_max(values.filter(inside)).as_py().values()
    others = values.filter(pc.invert(inside))
    told = f"numbers from {low} to {high} look like {what}"
    return Measured(_with_nulls(column, others), "; ".join(filter(None, (told, _others_told(others)))))


def _text(name: str, values: pa.ChunkedArray) -> Measured:
    marked = pc.is_in(values, value_set=pa.array([*MARKS], values.type))
    rest = values.filter(pc.invert(marked)).drop_null()
    column, good = _best_reading(name, rest)
    if column is None:
        distinct, count = pc.count_distinct(values).as_py(), len(values) - values.null_count
        few = distinct <= MAX_CATEGORIES and 2 * distinct <= count
        return Measured(Column(name, Kind.CATEGORY if few else Kind.TEXT))
    others = rest.filter(pc.invert(good))
    column = _with_nulls(replace(column, nulls=tuple(pc.unique(values.filter(marked)).to_pylist())), others)
    if column.kind is Kind.NUMBER and not column.formats:
        found = _number(name, _as_numbers(rest.filter(good)), column.nulls)
    else:
        found = Measured(column, _form_told(rest.filter(good), column))
    return Measured(found.column, "; ".join(filter(None, (found.guess, _others_told(others)))))


def _best_reading(name: str, rest: pa.ChunkedArray) -> tuple[Column | None, Any]:
    """Return how most texts can be read, as numbers or times, and which can; None unless 98 % can.

    Several formats of times may read 95 %, since :func:`time_formats` looks at a sample.
    """
    best: tuple[float, Column | None, Any] = (0.0, None, None)
    if not len(rest):
        return None, None
    sample = spread(rest)
    for column in _readings(name, sample):
        if pc.sum(_read(sample, column)).as_py() < _SAMPLED * len(sample):
            continue
        good = pa.chunked_array([_read(chunk, column) for chunk in rest.chunks])
        share = pc.sum(good).as_py() / len(rest)
        padded = column.kind is Kind.NUMBER and pc.any(pc.match_substring_regex(rest, pattern=_PADDED)).as_py()
        least = _SAMPLED if column.kind is Kind.TIME and column.formats else _MOST
        if share > best[0] and share >= least and not padded:
            best = share, column, good
        if share == 1:
            break
    return best[1:]


def _readings(name: str, sample: pa.Array) -> Iterator[Column]:
    """Iterate over the ways in which texts may be read; plain ones first."""
    yield Column(name, Kind.NUMBER)
    yield Column(name, Kind.TIME)
    yield Column(name, Kind.NUMBER, formats=(".",))
    yield Column(name, Kind.NUMBER, formats=(",",))
    if formats := time_formats(sample, times_of_text(sample)):
        yield Column(name, Kind.TIME, formats=formats)


def _read(text: pa.Array, column: Column) -> pa.Array:
    """Which texts can be read as values of a column."""
    if column.kind is Kind.TIME:
        return pc.is_valid(micros(text, Unit.NONE, column.formats)[0])
    if column.formats:
        return pc.is_valid(numbers_in(text.cast(pa.large_string()), *column.formats))
    return pc.match_substring_regex(text, pattern=_NUMBER)


def _form_told(read: pa.ChunkedArray, column: Column) -> str:
    """Why the form of numbers and times that are not written plainly is a guess."""
    if not column.formats:
        return ""
    number = column.kind is Kind.NUMBER
    form = f"numbers with the decimal mark {column.formats[0]!r}" if number else "times in the form "
    form += "" if number else " or ".join(column.formats)
    return f"texts such as {read[0].as_py()[:40]!r} look like {form}"


def _with_nulls(column: Column, others: pa.ChunkedArray) -> Column:
    """Take values as missing, unless they are many different ones; those are counted while the store is built."""
    texts = pc.unique(others).drop_null().cast(pa.large_string()).to_pylist()
    few = len(texts) <= _OTHERS and all(0 < len(text) <= _LONGEST for text in texts)
    return replace(column, nulls=tuple(sorted({*column.nulls, *(texts if few else ())})))


def _others_told(others: pa.ChunkedArray) -> str:
    """How many values count as missing, and the most frequent of them; "" if none."""
    if not len(others.drop_null()):
        return ""
    counts = pc.value_counts(others.drop_null()).to_pylist()
    most = sorted(counts, key=lambda one: -one["counts"])[:3]
    listed = ", ".join(f"{str(one['values'])[:40]!r} ({one['counts']:,})" for one in most)
    more = f" and {len(counts) - len(most)} more" if len(counts) > len(most) else ""
    return f"{len(others.drop_null()):,} other values count as missing: {listed}{more}"


def _as_numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    whole = pc.all(pc.match_substring_regex(values, pattern=r"^[+-]?\d{1,18}$")).as_py()
    return pc.utf8_trim_whitespace(values).cast(pa.int64() if whole else pa.float64())


def holds_times(values: pa.ChunkedArray) -> bool:
    """Whether half of the texts of a column, or more, are times in one form."""
    sample = spread(values.drop_null())
    return bool(len(sample)) and 2 * len(times_found(sample, times_of_text(sample))) >= len(sample)


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


def are_whole_numbers(values: pa.Array) -> bool:
    """Whether keys are integers, or texts of integers."""
    if pa.types.is_integer(values.type):
        return True
    return pc.all(pc.match_substring_regex(values, pattern=r"^\d{1,18}$")).as_py() is not False

"""Columns as the store keeps them: numbers, times and codes without nulls, text and keys as Arrow arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute

from distgnn.errors import RequestError
from distgnn.relational.formats import numbers_in, times_in
from distgnn.relational.schema import Column, Kind, Unit

pc: Any = _compute  # its functions are made at run time
UNKNOWN = np.iinfo(np.int64).min
"""Time of a row whose time is missing: it is visible always."""
_MICROSECONDS = {Unit.SECONDS: 1_000_000, Unit.MILLISECONDS: 1_000, Unit.MICROSECONDS: 1}
_MS = Unit.MILLISECONDS
_JULIAN_1970 = 2_440_587.5
_ERRORS = (pa.ArrowException, OverflowError, ValueError)
Arrays = dict[str, pa.Array]
"""Arrays of one column by part: "" is the column itself, "categories" the names of its codes."""


class Encoded:
    """A column in the form of the store.

    Attributes:
        arrays: Its arrays by part.
        unreadable: Number of values that are not of the column's kind; they became nulls.
        example: One of these values.
        missing: Number of missing values of the source.
    """

    def __init__(self, arrays: Arrays, unreadable: int = 0, example: str = "") -> None:
        self.arrays, self.unreadable, self.example = arrays, unreadable, example
        self.missing = 0


def encode(values: pa.ChunkedArray | pa.Array, column: Column, where: str) -> Encoded:
    """Convert the values of a source to the form of the store.

    Args:
        values: Values of any Arrow type.
        column: The column.
        where: Table and column, for messages.

    Raises:
        RequestError: The type of the values cannot be of the column's kind.
    """
    plain = _without(_plain(values), column.nulls)
    try:
        encoded = _ENCODERS[column.kind](plain, column)
        encoded.missing = plain.null_count
        return encoded
    except _ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(
            f"{where}: {plain.type} cannot be read as {column.kind.value} ({reason}); change its kind"
        ) from error


def _plain(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.unify_dictionaries().combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    if isinstance(values, pa.ChunkedArray):  # a text column of more than 2 GiB
        values = pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in values.chunks])
    if pa.types.is_dictionary(values.type):
        return values.dictionary_decode() if isinstance(values, pa.DictionaryArray) else values
    return values.cast(pa.null()) if pa.types.is_null(values.type) else values


def _without(values: pa.Array, nulls: tuple[str, ...]) -> pa.Array:
    """Replace texts and numbers that are written as one of ``nulls`` by nulls."""
    number = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    if not nulls or not (number or is_text(values.type)):
        return values
    text = values.cast(pa.large_string())
    return pc.if_else(
        pc.is_in(text, value_set=pa.array(nulls, pa.large_string())), pa.scalar(None, values.type), values
    )


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _number(values: pa.Array, column: Column) -> Encoded:
    numbers = _numbers_of_text(values, *column.formats) if is_text(values.type) else _cast_number(values)
    finite = pc.is_finite(numbers)
    kept = pc.if_else(pc.fill_null(finite, False), numbers, pa.scalar(None, pa.float64()))
    kept = kept.fill_null(np.nan)
    nan = pc.is_nan(numbers) if pa.types.is_floating(numbers.type) else None
    lost = pc.and_(pc.is_valid(values), pc.and_(pc.is_nan(kept), pc.invert(pc.fill_null(nan, False))))
    return _counted({"": kept}, values, lost)


def _cast_number(values: pa.Array) -> pa.Array:
    if pa.types.is_temporal(values.type) and not pa.types.is_duration(values.type):
        raise ValueError("it holds times")
    if pa.types.is_duration(values.type):
        return pc.divide(values.cast(pa.duration("us")).cast(pa.int64()).cast(pa.float64()), 1e6)
    if pa.types.is_boolean(values.type):
        return values.cast(pa.int8()).cast(pa.float64())
    return values.cast(pa.float64(), safe=False)


_NUMBER = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?\s*$"


def _numbers_of_text(values: pa.Array, mark: str = "") -> pa.Array:
    text = values.cast(pa.large_string())
    if mark:
        return numbers_in(text, mark)
    right = pc.match_substring_regex(text, pattern=_NUMBER)
    return pc.if_else(right, pc.utf8_trim_whitespace(text), pa.scalar(None, pa.large_string())).cast(pa.float64())


def _time(values: pa.Array, column: Column) -> Encoded:
    times, lost = micros(values, column.unit, column.formats)
    return _counted({"": times.fill_null(UNKNOWN)}, values, lost)


def micros(values: pa.Array, unit: Unit, formats: tuple[str, ...] = ()) -> tuple[pa.Array, pa.Array]:
    """Return times as int64 microseconds since 1970 UTC (null = missing), and which values are no times."""
    kind = values.type
    if is_text(kind) and unit is not Unit.NONE:
        times, _ = _epoch(_numbers_of_text(values), unit)
        return times, pc.and_(pc.is_valid(values), pc.is_null(times))
    if formats and not pa.types.is_null(kind) and not pa.types.is_temporal(kind):
        text = values.cast(pa.large_string())
        times = times_of_text(text)
        for one in formats:
            times = pc.coalesce(times, times_in(text, one))
        return times, pc.and_(pc.is_valid(values), pc.is_null(times))
    if is_text(kind):
        times = times_of_text(values)
        return times, pc.and_(pc.is_valid(values), pc.is_null(times))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        times = values.cast(pa.timestamp("us", kind.tz if pa.types.is_timestamp(kind) else None), safe=False).cast(
            pa.int64()
        )
        return times, pa.nulls(len(values), pa.bool_()).fill_null(False)
    if pa.types.is_null(kind):
        return values.cast(pa.int64()), pa.nulls(len(values), pa.bool_()).fill_null(False)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise ValueError("it holds no times")
    if unit is Unit.NONE:
        raise ValueError("a time as a number needs unit = s, ms, us, ns or julian")
    return _epoch(values, unit)


def _epoch(values: pa.Array, unit: Unit) -> tuple[pa.Array, pa.Array]:
    if pa.types.is_integer(values.type) and unit is not Unit.JULIAN:
        whole = values.cast(pa.int64())
        limit = (1 << 62) // _MICROSECONDS.get(unit, 1)
        right = pc.and_(pc.less_equal(whole, limit), pc.greater_equal(whole, -limit))
        whole = pc.if_else(right, whole, pa.scalar(None, pa.int64()))
        times = _floor_thousandth(whole) if unit is Unit.NANOSECONDS else pc.multiply(whole, _MICROSECONDS[unit])
    else:
        if unit is Unit.JULIAN:
            values, unit = pc.round(pc.multiply(pc.subtract(values.cast(pa.float64()), _JULIAN_1970), 86_400_000)), _MS
        real = values.cast(pa.float64())
        scaled = pc.floor(pc.multiply(real, 1e-3 if unit is Unit.NANOSECONDS else float(_MICROSECONDS[unit])))
        right = pc.and_(pc.is_finite(scaled), pc.less(pc.abs(scaled), float(1 << 62)))
        times = pc.if_else(right, scaled, pa.scalar(None, pa.float64())).cast(pa.int64())
    return times, pc.and_(pc.is_valid(values), pc.is_null(times))


def _floor_thousandth(whole: pa.Array) -> pa.Array:
    return pa.array(whole.fill_null(0).to_numpy() // 1000, mask=whole.is_null().to_numpy(zero_copy_only=False))


_DATE = r"^\s*-?\d{4,6}-\d{2}-\d{2}"
_STAMP = _DATE + r"([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?\s*(Z|UTC|[+-]\d{2}(:?\d{2})?)?\s*$"
_ZONE = r"(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})?\s*$"


def times_of_text(values: pa.Array) -> pa.Array:
    """Parse ISO 8601 dates and times to int64 microseconds UTC. A time without a zone is UTC; what is no time is null."""
    text = pc.utf8_trim_whitespace(values.cast(pa.large_string()))
    text = pc.if_else(pc.match_substring_regex(text, pattern=_STAMP), text, pa.scalar(None, pa.large_string()))
    timed = pc.match_substring_regex(text, pattern=r"\d[T ]\d{2}:")
    zone = pc.extract_regex(pc.if_else(timed, text, pa.scalar(None, pa.large_string())), pattern=_ZONE)
    local = pc.replace_substring_regex(text, pattern=r"\s*(Z|UTC)$", replacement="")
    zoned = pc.fill_null(pc.is_valid(zone), False)
    local = pc.if_else(
        zoned, pc.replace_substring_regex(local, pattern=r"\s*[+-]\d{2}(:?\d{2})?$", replacement=""), local
    )
    local = pc.replace_substring_regex(local, pattern=r"(\.\d{6})\d{1,3}$", replacement=r"\1")
    stamps = _parsed(local)
    return pc.subtract(stamps, _offset(zone)) if pc.any(zoned).as_py() else stamps


def _offset(zone: pa.Array) -> pa.Array:
    hours, minutes = (
        pc.if_else(pc.equal(found := pc.struct_field(zone, name), ""), "0", found).cast(pa.int64())
        for name in ("hours", "minutes")
    )
    sign = pc.if_else(pc.equal(pc.struct_field(zone, "sign"), "-"), -60_000_000, 60_000_000)
    return pc.fill_null(pc.multiply(pc.add(pc.multiply(hours, 60), minutes), sign), 0)


def _parsed(text: pa.Array) -> pa.Array:
    try:
        return text.cast(pa.timestamp("us")).cast(pa.int64())
    except pa.ArrowInvalid:  # days such as 2021-02-30 are found one by one, among the distinct values
        known = pc.unique(text).drop_null().to_pylist()
        good = pa.array([one for one in known if _is_time(one)], pa.large_string())
        kept = pc.if_else(pc.is_in(text, value_set=good), text, pa.scalar(None, pa.large_string()))
        return kept.cast(pa.timestamp("us")).cast(pa.int64())


def _is_time(text: str) -> bool:
    try:
        pa.scalar(text).cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return False
    return True


def _category(values: pa.Array, _: Column) -> Encoded:
    coded = as_text(values).dictionary_encode()
    names = coded.dictionary
    order = pc.sort_indices(names).to_numpy()
    rank = np.empty(len(order) + 1, np.int32)
    rank[order], rank[-1] = np.arange(len(order)), -1
    codes = rank[coded.indices.fill_null(len(order)).to_numpy()]
    return Encoded({"": pa.array(codes), "categories": names.take(pa.array(order)).cast(pa.large_string())})


def as_text(values: pa.Array) -> pa.Array:
    """Return values of any type as text."""
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type) or pa.types.is_nested(values.type):
        raise ValueError("bytes and nested values are not read; leave the column out")
    return values.cast(pa.large_string())


def _text(values: pa.Array, _: Column) -> Encoded:
    return Encoded({"": as_text(values)})


_WHOLE = r"^(-?[1-9]\d*|0)\.0+$"


def _key(values: pa.Array, _: Column) -> Encoded:
    kind = values.type
    if pa.types.is_integer(kind):
        return Encoded({"": values.cast(pa.int64())})
    if pa.types.is_floating(kind):
        values = pc.if_else(pc.fill_null(pc.is_nan(values), False), pa.scalar(None, kind), values)
    if pa.types.is_floating(kind) and pc.all(pc.equal(pc.floor(values), values)).as_py() is not False:
        return Encoded({"": values.cast(pa.int64())})  # whole numbers with missing values, as pandas writes them
    text = as_text(values)
    if len(text) > text.null_count and pc.all(pc.match_substring_regex(text, pattern=_WHOLE)).as_py():
        text = pc.replace_substring_regex(text, pattern=r"\.0+$", replacement="")  # the same in a CSV file
    return Encoded({"": text})


def _counted(arrays: Arrays, values: pa.Array, lost: pa.Array) -> Encoded:
    count = pc.sum(lost).as_py() or 0
    example = str(values.filter(lost).slice(0, 1).to_pylist()[0])[:80] if count else ""
    return Encoded(arrays, count, example)


_ENCODERS: dict[Kind, Callable[[pa.Array, Column], Encoded]] = {
    Kind.NUMBER: _number,
    Kind.TIME: _time,
    Kind.CATEGORY: _category,
    Kind.TEXT: _text,
    Kind.KEY: _key,
}

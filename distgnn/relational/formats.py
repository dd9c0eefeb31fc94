"""Numbers and times as people write them: 31.12.2023, Jan 5 2024 5:07 PM, 1.234,50, $1,234.50."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute

pc: Any = _compute  # its functions are made at run time
_DATES = (
    *("%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d.%m.%Y", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y"),
    *("%Y%m%d", "%b %d, %Y", "%b %d %Y", "%d %b %Y", "%d-%b-%Y", "%a, %d %b %Y", "%Y-%m-%d", "%Y-%b-%d"),
    *("%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d-%b-%y"),
)
_CLOCKS = ("", " %H:%M", " %H:%M:%S", "T%H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S %z")
_SAMPLE, _FIRST, _FORMATS, _SHORTEST = 4096, 64, 4, 6
_LEAST = 0.95
_FIRST_YEAR = -30_610_224_000_000_000  # of the year 1000: %Y also reads the year 23
_UNIT = r"(?:\p{Sc}|[A-Z]{3})"
_MARKS = {
    mark: rf"^\s*{_UNIT}?\s?[+-]?{_UNIT}?\s?(\d{{1,3}}([{group}'\x{{a0}}\x{{202f}}]\d{{3}})+|[1-9]\d*|0)"
    rf"([{mark}]\d+)?\s?({_UNIT}|%)?\s*$"
    for mark, group in ((".", ","), (",", "."))
}


def times_in(text: pa.Array, pattern: str) -> pa.Array:
    """Parse times as ``strptime`` does, to int64 microseconds since 1970 UTC; null = not in this form."""
    found = pc.strptime(pc.utf8_trim_whitespace(text), format=pattern, unit="us", error_is_null=True)
    whole = found.cast(pa.timestamp("us", found.type.tz)).cast(pa.int64())
    return pc.if_else(pc.greater_equal(whole, _FIRST_YEAR), whole, pa.scalar(None, pa.int64()))


def numbers_in(text: pa.Array, mark: str) -> pa.Array:
    """Parse numbers with the decimal mark ``mark``, maybe with groups of digits, a currency or %; null = no number."""
    right = pc.match_substring_regex(text, pattern=_MARKS[mark])
    kept = pc.if_else(right, text, pa.scalar(None, text.type))
    plain = pc.replace_substring_regex(kept, pattern=rf"[^\d+\-{mark}]", replacement="")
    return (pc.replace_substring(plain, ",", ".") if mark == "," else plain).cast(pa.float64())


def spread(values: pa.ChunkedArray) -> pa.Array:
    """Return at most 4,096 values from all over a column: the first ones are often of one month."""
    places = np.linspace(0, max(len(values) - 1, 0), min(len(values), _SAMPLE)).astype(np.int64)
    return values.take(pa.array(places)).combine_chunks()


def time_formats(sample: pa.Array, known: pa.Array) -> tuple[str, ...]:
    """Return the formats of the times in a sample of a column, at most four; empty if a twentieth of its values is in none.

    Args:
        sample: Values, see :func:`spread`.
        known: The times of those that are already read, else null.
    """
    rest = sample.filter(pc.and_(pc.is_valid(sample), pc.is_null(known))).cast(pa.large_string())
    count, open_ = len(sample) - sample.null_count, rest
    formats: list[str] = []
    while len(open_) and len(formats) < _FORMATS and (best := _best(open_)):
        formats.append(best)
        open_ = open_.filter(pc.is_null(times_in(open_, best)))
    return tuple(formats) if len(open_) <= (1 - _LEAST) * count else ()


def times_found(sample: pa.Array, known: pa.Array) -> pa.Array:
    """Return the values of a sample that are times already read (``known``), or in the form that most of the others have."""
    open_ = sample.filter(pc.is_null(known)).cast(pa.large_string())
    best = _best(open_) if len(open_) else ""
    others = open_.filter(pc.is_valid(times_in(open_, best))) if best else open_.slice(0, 0)
    return pa.concat_arrays([sample.filter(pc.is_valid(known)).cast(pa.large_string()), others])


def _best(text: pa.Array) -> str:
    """The format that most values have; of several, that of the longest range: 01/02, 01/03 are months. "" if none has any."""
    first = text.slice(0, _FIRST)
    if not pc.any(pc.match_substring_regex(first, pattern=r"^\D{0,12}\d{1,8}\D?[\w /.:,-]*$")).as_py():
        return ""
    short = pc.min(pc.utf8_length(first)).as_py() < _SHORTEST  # 1.2.3 is no date
    formats = [f"{date}{clock}" for date, clock in product(_DATES, _CLOCKS) if not (short and "%y" in date)]
    likely = [one for one in formats if len(first) > times_in(first, one).null_count]
    fits = {one: _fit(times_in(text, one)) for one in likely}
    return max(fits, key=lambda one: fits[one]) if fits else ""


def _fit(times: pa.Array) -> tuple[int, int]:
    low, high = pc.min_max(times).as_py().values()
    return len(times) - times.null_count, 0 if low is None else high - low

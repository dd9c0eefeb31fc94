"""Conversion of columns: right values for numbers, times, categories and keys in every form that sources have."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from distgnn.errors import RequestError
from distgnn.relational.encode import UNKNOWN, Encoded, encode
from distgnn.relational.schema import Column, Kind, Unit

NAN = float("nan")
NEW_YEAR = 1_704_067_200_000_000  # 2024-01-01 UTC


def encoded(values: Any, kind: Kind, **facts: Any) -> Encoded:
    array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    return encode(array, Column("c", kind, **facts), "t.c")


@pytest.mark.parametrize(
    ("values", "expected", "unreadable"),
    [
        ([1, None, -3], [1, NAN, -3], 0),
        ([1.5, NAN, float("inf")], [1.5, NAN, NAN], 1),
        ([True, False, None], [1, 0, NAN], 0),
        ([Decimal("1.25"), None], [1.25, NAN], 0),
        (["1", " 2.5e1 ", "?", "", None, "-.5", "1,5", "0x1", "nan"], [1, 25, NAN, NAN, NAN, -0.5, NAN, NAN, NAN], 5),
        ([None, None], [NAN, NAN], 0),
    ],
)
def test_numbers(values: list[Any], expected: list[float], unreadable: int) -> None:
    found = encoded(values, Kind.NUMBER)
    np.testing.assert_array_equal(found.arrays[""].to_numpy(), expected)
    assert found.unreadable == unreadable


def test_texts_that_mean_missing() -> None:
    found = encoded(["1", "?", r"\N"], Kind.NUMBER, nulls=("?", r"\N"))
    np.testing.assert_array_equal(found.arrays[""].to_numpy(), [1, NAN, NAN])
    assert (found.unreadable, found.missing) == (0, 2)
    assert encoded(["a", "?"], Kind.TEXT, nulls=("?",)).arrays[""].to_pylist() == ["a", None]


@pytest.mark.parametrize(
    ("values", "unit", "expected"),
    [
        ([datetime(2024, 1, 1), None], Unit.NONE, [NEW_YEAR, UNKNOWN]),
        ([date(2024, 1, 1), date(1850, 1, 1)], Unit.NONE, [NEW_YEAR, -3_786_825_600_000_000]),
        (pa.array([1_704_067_200], pa.timestamp("s")), Unit.NONE, [NEW_YEAR]),
        (pa.array([NEW_YEAR], pa.timestamp("us", "Europe/Paris")), Unit.NONE, [NEW_YEAR]),
        (
            ["2024-01-01", "2024-01-01T01:00:00+01:00", "2024-01-01 00:00:00.000001Z"],
            Unit.NONE,
            [NEW_YEAR, NEW_YEAR, NEW_YEAR + 1],
        ),
        (["2023-12-31 18:30-0530", "2024-01-01 00:00:00.000001999 UTC"], Unit.NONE, [NEW_YEAR, NEW_YEAR + 1]),
        ([1_704_067_200, None], Unit.SECONDS, [NEW_YEAR, UNKNOWN]),
        ([1_704_067_200_000], Unit.MILLISECONDS, [NEW_YEAR]),
        ([NEW_YEAR], Unit.MICROSECONDS, [NEW_YEAR]),
        ([NEW_YEAR * 1000 + 999, -1], Unit.NANOSECONDS, [NEW_YEAR, -1]),
        ([1_704_067_200.5, NAN], Unit.SECONDS, [NEW_YEAR + 500_000, UNKNOWN]),
    ],
)
def test_times(values: Any, unit: Unit, expected: list[int]) -> None:
    assert encoded(values, Kind.TIME, unit=unit).arrays[""].to_pylist() == expected


def test_what_is_no_time_is_counted() -> None:
    found = encoded(["2024-01-01", "2024-02-30", "yesterday", "01/02/2024", None], Kind.TIME)
    assert found.arrays[""].to_pylist() == [NEW_YEAR] + [UNKNOWN] * 4
    assert (found.unreadable, found.example) == (3, "2024-02-30")
    assert encoded([1 << 62], Kind.TIME, unit=Unit.SECONDS).unreadable == 1


def test_numbers_are_no_times_without_a_unit() -> None:
    with pytest.raises(RequestError, match=r"t.c: int64 cannot be read as time .*unit = s, ms, us, ns or julian"):
        encoded([1], Kind.TIME)
    with pytest.raises(RequestError, match="cannot be read as number"):
        encoded([datetime(2024, 1, 1)], Kind.NUMBER)
    with pytest.raises(RequestError, match="cannot be read as text"):
        encoded([b"x"], Kind.TEXT)


def test_categories_are_sorted_whatever_the_order_of_the_rows() -> None:
    for values in (["b", None, "a", "b"], [2, None, 10, 2], [True, None, False, True]):
        found = encoded(values, Kind.CATEGORY).arrays
        names = found["categories"].to_pylist()
        assert names == sorted(names)
        texts = [None if v is None else str(v).lower() for v in values]
        assert [None if c < 0 else names[c] for c in found[""].to_pylist()] == texts
    chunks = pa.chunked_array([pa.array(["x", "y"]).dictionary_encode(), pa.array(["z", "y"]).dictionary_encode()])
    assert encoded(chunks, Kind.CATEGORY).arrays[""].to_pylist() == [0, 1, 2, 1]
    assert encoded([None], Kind.CATEGORY).arrays[""].to_pylist() == [-1]


def test_keys_are_opaque() -> None:
    assert encoded(["007", "7", "1e5", "NA", " a", None], Kind.KEY).arrays[""].to_pylist() == [
        "007",
        "7",
        "1e5",
        "NA",
        " a",
        None,
    ]
    assert encoded(pa.array([1, 2], pa.int16()), Kind.KEY).arrays[""].type == pa.int64()
    assert encoded([1.0, None, 3.0], Kind.KEY).arrays[""].to_pylist() == [1, None, 3]  # pandas writes such
    assert encoded([1.0, NAN], Kind.KEY).arrays[""].to_pylist() == [1, None]
    assert encoded([1.5], Kind.KEY).arrays[""].to_pylist() == ["1.5"]
    assert encoded(pa.chunked_array([], pa.int64()), Kind.KEY).arrays[""].to_pylist() == []

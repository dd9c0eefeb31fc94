"""Arrays are checked before they are cast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from distgnn.errors import RequestError
from distgnn.graph.checked import real, whole
from distgnn.graph.ragged import packed, pointers

NUMBERS = arrays.arrays(
    st.sampled_from(["i1", "u1", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "?"]),
    arrays.array_shapes(max_dims=2, max_side=4),
)


@given(values=NUMBERS, low=st.integers(-300, 0), high=st.integers(0, 1 << 40))
def test_whole_returns_equal_numbers_or_refuses(values: np.ndarray, low: int, high: int) -> None:
    exact = [int(v) if np.isfinite(v) and v == int(v) else None for v in values.reshape(-1).tolist()]
    good = all(v is not None and low <= v <= high for v in exact)
    if not good:
        with pytest.raises(RequestError, match=r"^a, row \d"):
            whole(values, "a", low=low, high=high)
        return
    found = whole(values, "a", low=low, high=high)
    assert found.dtype == np.int64
    assert found.reshape(-1).tolist() == exact


@given(values=NUMBERS)
def test_real_returns_the_nearest_float32_or_refuses(values: np.ndarray) -> None:
    wide = values.astype(np.float64)
    with np.errstate(over="ignore"):
        good = np.isfinite(wide.astype(np.float32)).all()
    if not good:
        with pytest.raises(RequestError, match=r"^a, row \d"):
            real(values, "a")
        return
    found = real(values, "a")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wide, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize(("values", "options", "message"), [
    ([1, 2**32 + 6], {"high": 119}, "a, row 1: 4294967302 is outside"),
    ([0, 1.9], {}, r"a, row 1: 1.9 is not a whole number"),
    ([0, np.nan], {}, "a, row 1: nan is not finite"),
    ([2.0**60], {}, "too large to be exact"),
    (np.array([2**63], np.uint64), {}, "outside"),
    ([[1, 2], [3]], {}, "a: rows have unequal lengths"),
    (["x"], {}, "a: expected numbers, found <U1"),
    ([1j], {}, "expected numbers, found complex128"),
    ([1, 2], {"shape": (3,)}, r"a: expected shape \[3\], found \[2\]"),
    ([1, 2], {"shape": (None, 2)}, r"a: expected shape \[\*, 2\], found \[2\]"),
])  # fmt: skip
def test_whole_refuses(values: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        whole(values, "a", **options)


@pytest.mark.parametrize(("values", "options", "message"), [
    ([1, np.inf], {"unknown": True}, "a, row 1: inf is infinite"),
    ([1, np.nan], {}, "a, row 1: nan is not a number"),
    ([1e39], {}, r"a, row 0: 1e\+39 is too large for float32"),
    ([[1.0]], {"shape": (1,)}, "expected shape"),
    ([True, "x"], {}, "expected numbers"),
])  # fmt: skip
def test_real_refuses(values: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        real(values, "a", **options)


def test_unknown_values_stay_unknown() -> None:
    assert np.isnan(real([1, np.nan], "a", unknown=True)).tolist() == [False, True]


@pytest.mark.parametrize(("change", "message"), [
    ({"edges": np.array([[0.0], [1.5]])}, "edges, row 1: 1.5 is not a whole number"),
    ({"edges": np.zeros((1, 2))}, r"edges: expected shape \[2, 1\]"),
    ({"node_cat": np.full((2, 1), 2**32 + 6)}, "node_cat, graph 7: 4294967302 is outside"),
    ({"node_cat": np.zeros((3, 1), int)}, "node_cat: expected shape"),
    ({"node_dense": np.array([[np.nan], [0]])}, "node_dense, graph 7: nan"),
    ({"y": np.array([[np.inf]])}, "y, row 0: inf is infinite"),
    ({"y": np.zeros((2, 1))}, "y: expected shape"),
    ({"center": np.array([0.5])}, "center, row 0: 0.5 is not a whole number"),
    ({"graph_id": [0.5]}, "graph_id, row 0"),
])  # fmt: skip
def test_packed_checks_every_array(change: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"graph_id": [7], "edges": np.array([[0], [1]])} | change
    with pytest.raises(RequestError, match=message):
        packed(node_ptr=pointers([2]), edge_ptr=pointers([1]), **values)

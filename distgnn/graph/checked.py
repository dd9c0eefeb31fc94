"""Checks of arrays before they are cast: shape, dtype, range and finiteness, so that no value changes in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from distgnn.errors import RequestError

Shape = tuple[int | None, ...]
Place = Callable[[int], str]
_INT64 = np.iinfo(np.int64)
_EXACT = 1 << 53  # float64 holds every whole number up to this one


def whole(
    values: npt.ArrayLike,
    what: str,
    *,
    shape: Shape | None = None,
    low: int = _INT64.min,
    high: int = _INT64.max,
    place: Place = "row {}".format,
) -> npt.NDArray[np.int64]:
    """Return ``values`` as int64.

    Args:
        values: Whole numbers of any integer or floating-point dtype.
        what: Name of the array, the start of error messages.
        shape: Required shape; None in a place = any length.
        low: Smallest value.
        high: Largest value.
        place: Returns the name of a row for error messages.

    Raises:
        RequestError: The shape differs, or a value is not a whole number from ``low`` to ``high``.
    """
    array = _numbers(values, what, shape)
    if array.dtype.kind == "f":
        array = array.astype(np.float64, copy=False)
        _refuse(~np.isfinite(array), what, "not finite", array, place)
        _refuse(array != np.floor(array), what, "not a whole number", array, place)
        _refuse(np.abs(array) > _EXACT, what, "too large to be exact", array, place)
    elif array.dtype.kind != "b":
        limits = np.iinfo(array.dtype)
        if low <= limits.min and limits.max <= high:
            return array.astype(np.int64, copy=False)
    if array.size and not (low <= int(array.min()) and int(array.max()) <= high):
        _refuse((array < low) | (array > high), what, f"outside {low}..{high}", array, place)
    return array.astype(np.int64, copy=False)


def real(
    values: npt.ArrayLike,
    what: str,
    *,
    shape: Shape | None = None,
    unknown: bool = False,
    place: Place = "row {}".format,
) -> npt.NDArray[np.float32]:
    """Return ``values`` as float32.

    Args:
        values: Real numbers of any dtype.
        what: Name of the array, the start of error messages.
        shape: Required shape; None in a place = any length.
        unknown: Whether NaN (an unknown value) is allowed.
        place: Returns the name of a row for error messages.

    Raises:
        RequestError: The shape differs, or a value is infinite, too large for float32, or NaN where that is not allowed.
    """
    array = _numbers(values, what, shape)
    if array.dtype.kind == "f":
        _refuse(np.isinf(array), what, "infinite", array, place)
        if not unknown:
            _refuse(np.isnan(array), what, "not a number", array, place)
    with np.errstate(over="ignore"):
        found = array.astype(np.float32, copy=False)
    if found is not array:
        _refuse(np.isinf(found), what, "too large for float32", array, place)
    return found


def _refuse(bad: npt.NDArray[np.bool_], what: str, problem: str, values: npt.NDArray[Any], place: Place) -> None:
    """Raise RequestError with the first row of ``bad`` [n, ...] that is true anywhere."""
    if bad.any():
        where = np.unravel_index(int(np.argmax(bad)), bad.shape)
        row = f", {place(int(where[0]))}" if bad.ndim else ""
        raise RequestError(f"{what}{row}: {values[where]!s} is {problem}")


def _numbers(values: npt.ArrayLike, what: str, shape: Shape | None) -> npt.NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise RequestError(f"{what}: rows have unequal lengths") from error
    if shape is not None:
        fits = array.ndim == len(shape) and all(want in (None, n) for want, n in zip(shape, array.shape, strict=True))
        if not fits:
            wanted = ", ".join("*" if want is None else str(want) for want in shape)
            raise RequestError(f"{what}: expected shape [{wanted}], found {list(array.shape)}")
    if array.dtype.kind not in "biuf" and array.size:
        raise RequestError(f"{what}: expected numbers, found {array.dtype}")
    return array if array.dtype.kind in "biuf" else array.astype(np.float64)

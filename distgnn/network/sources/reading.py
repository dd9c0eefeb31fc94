"""Readers of raw network files (id tables, arrays, matrices) whose errors name file and row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from distgnn.corpus.sources.files import ARRAY_ERRORS, described, input_errors, load_npz, open_binary
from distgnn.errors import RequestError
from distgnn.storage.uri import base_name, join

Rows = npt.NDArray[np.int64]
_LARGEST = 1 << 31


def find(folder: str, names: Sequence[str]) -> str:
    """Return the first of ``names`` that exists in the folder.

    Raises:
        RequestError: none exists.
    """
    for name in names:
        if exists(join(folder, name)):
            return join(folder, name)
    raise RequestError(f"{folder}: {' or '.join(names)} not found; check the path")


def exists(uri: str) -> bool:
    """Return whether the file exists."""
    try:
        described([uri])
    except RequestError:
        return False
    return True


def id_table(uri: str, columns: Sequence[str]) -> dict[str, Rows]:
    """Read columns of non-negative integers from an .npy matrix or white-space separated text.

    Args:
        uri: the file.
        columns: names of the columns.

    Returns:
        int64 [rows] by name.

    Raises:
        RequestError: a value is not such an integer (the message names the row), or there are no rows.
    """
    table = load_array(uri) if base_name(uri).endswith(".npy") else _text_table(uri, columns)
    if table.ndim != 2 or table.shape[1] != len(columns):
        raise RequestError(f"{uri}: needs the columns {', '.join(columns)}, found shape {table.shape}")
    if not len(table):
        raise RequestError(f"{uri}: the table has no rows; download it again")
    numbers = whole_numbers(uri, table)
    for position, name in enumerate(columns):
        check_ids(uri, name, numbers[:, position], _LARGEST)
    return {name: np.ascontiguousarray(numbers[:, position]) for position, name in enumerate(columns)}


def _text_table(uri: str, columns: Sequence[str]) -> npt.NDArray[Any]:
    with input_errors(uri), open_binary(uri) as file:
        try:
            table = pd.read_csv(file, sep=r"\s+", header=None, encoding_errors="replace")
        except pd.errors.EmptyDataError:
            return np.zeros((0, len(columns)))
        except RequestError:
            raise
        except ValueError as error:  # pandas' own parser errors are ValueErrors
            raise RequestError(f"{uri}: needs the columns {', '.join(columns)} ({_line(error)})") from error
    numbers = table.apply(pd.to_numeric, errors="coerce").to_numpy()
    bad = np.isnan(numbers).any(axis=1) if numbers.dtype.kind == "f" else np.zeros(len(numbers), np.bool_)
    if bad.any():
        row = int(np.argmax(bad))
        raise RequestError(
            f"{uri}, row {row + 1}: {' '.join(map(str, table.iloc[row]))!r} is not {len(columns)} numbers; fix the row"
        )
    return numbers


def whole_numbers(uri: str, values: npt.NDArray[Any]) -> Rows:
    """Convert values to int64.

    Raises:
        RequestError: a value is not an integer; the message names the row.
    """
    if values.dtype.kind not in "iuf":
        raise RequestError(f"{uri}: must hold integers, found {values.dtype}")
    if values.dtype.kind == "f":
        bad = values != np.floor(values)
        if bad.any():
            row = np.argwhere(bad)[0]
            raise RequestError(f"{uri}, row {int(row[0]) + 1}: {values[tuple(row)]} is not an integer; fix the row")
    return values.astype(np.int64)


def check_ids(uri: str, name: str, ids: Rows, size: int) -> None:
    """Check that all ids are in [0, size).

    Raises:
        RequestError: an id is out of range; the message names file and row.
    """
    bad = (ids < 0) | (ids >= size)
    if bad.any():
        row = int(np.argmax(bad))
        raise RequestError(f"{uri}, row {row + 1}: {name} {int(ids[row])} is out of range; it must be in [0, {size})")


def load_array(uri: str) -> npt.NDArray[Any]:
    """Load a plain .npy array.

    Raises:
        RequestError: the file is damaged or requires pickle.
    """
    with input_errors(uri), open_binary(uri) as file:
        try:
            array = np.load(file, allow_pickle=False)
        except ARRAY_ERRORS as error:
            raise RequestError(f"{uri}: not a plain .npy array ({_line(error)}); download it again") from error
    if not isinstance(array, np.ndarray):
        raise RequestError(f"{uri}: holds several arrays, expected one")
    return array


def load_matrix(uri: str) -> npt.NDArray[np.float32]:
    """Load a sparse matrix of scipy.sparse.save_npz (csr, csc or coo) or a plain .npy array as dense float32."""
    if _is_plain(uri):
        return finite(uri, load_array(uri))
    parts = load_npz(uri, ("data", "shape", "format"), ("row", "col", "indices", "indptr"))
    shape = tuple(int(size) for size in parts["shape"])
    layout = parts["format"].item()
    layout = layout.decode() if isinstance(layout, bytes) else str(layout)
    names = {"coo": ("row", "col"), "csr": ("indices", "indptr"), "csc": ("indices", "indptr")}.get(layout, ())
    if not names or set(names) - set(parts):
        raise RequestError(f"{uri}: the sparse format {layout!r} is not supported; save it as csr or coo")
    first, second = (parts[name] for name in names)
    return dense(uri, layout, parts["data"], (first, second), shape)


def dense(
    uri: str, layout: str, data: npt.NDArray[Any], places: tuple[npt.NDArray[Any], ...], shape: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """Convert the parts of a sparse matrix to dense float32.

    Args:
        uri: file, for messages.
        layout: "csr", "csc" or "coo".
        data: values.
        places: (indices, indptr), or (row, col) for coo.
        shape: shape of the matrix.

    Raises:
        RequestError: the parts are inconsistent.
    """
    try:
        if layout == "coo":
            matrix: Any = sp.coo_matrix((data, places), shape=shape)
        else:
            kind = sp.csr_matrix if layout == "csr" else sp.csc_matrix
            matrix = kind((data, *places), shape=shape)
            matrix.check_format(full_check=True)
    except (ValueError, IndexError) as error:
        raise RequestError(
            f"{uri}: not a sparse matrix of shape {shape} ({_line(error)}); download it again"
        ) from error
    return finite(uri, matrix.astype(np.float32).toarray())


def finite(uri: str, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Convert features to a contiguous float32 matrix.

    Raises:
        RequestError: not a numeric matrix, or a value is not finite; the message names the row.
    """
    if values.ndim != 2 or values.dtype.kind not in "iufb":
        raise RequestError(f"{uri}: features must be a matrix of numbers, found {values.dtype} {values.shape}")
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise RequestError(f"{uri}, row {int(np.argmax(bad)) + 1}: a feature is not finite; fix the row")
    return np.ascontiguousarray(values, np.float32)


def provenance(kind: str, uri: str, name: str, files: Sequence[str], **options: Any) -> dict[str, Any]:
    """Return kind, name, input files and options for the manifest (no absolute paths, no time)."""
    title = name or base_name(uri).removesuffix(".npz")
    return {"kind": kind, "name": title, "files": described(files), "options": options}


def _is_plain(uri: str) -> bool:
    with input_errors(uri), open_binary(uri) as file:
        return file.read(6) == b"\x93NUMPY"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())

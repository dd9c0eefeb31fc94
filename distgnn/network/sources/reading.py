"""Readers of raw network files (id tables, arrays, matrices) whose errors name file and row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from distgnn.corpus.account import Account
from distgnn.corpus.sources.edges.columns import integer_columns
from distgnn.corpus.sources.files import described
from distgnn.corpus.sources.npz import is_npy, load_npy, load_npz
from distgnn.errors import RequestError
from distgnn.storage.uri import base_name, join

Rows = npt.NDArray[np.int64]
_LARGEST = 1 << 31
_FREE_IDS, _IDS_PER_ROW = 1 << 20, 64
_FREE_VALUES, _VALUES_PER_ENTRY = 1 << 27, 1024
_EXACT = 2.0**53


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
    if base_name(uri).endswith(".npy"):
        table = load_npy(uri)
        if table.ndim != 2 or table.shape[1] != len(columns):
            raise RequestError(f"{uri}: needs the columns {', '.join(columns)}, found shape {table.shape}")
        numbers = list(whole_numbers(uri, table).T)
    else:
        numbers = integer_columns(uri, columns)
    if not len(numbers[0]):
        raise RequestError(f"{uri}: the table has no rows; download it again")
    for name, column in zip(columns, numbers, strict=True):
        check_ids(uri, name, column, _LARGEST)
    return {name: np.ascontiguousarray(column) for name, column in zip(columns, numbers, strict=True)}


def count_ids(uri: str, name: str, *columns: Rows) -> int:
    """Return how many nodes there are: one more than the largest id. Memory grows with it, so it must fit the rows.

    Raises:
        RequestError: ids are so large that they cannot be numbers from 0 on; the message names file and column.
    """
    largest = max(int(ids.max()) for ids in columns)
    if largest >= _FREE_IDS + _IDS_PER_ROW * sum(map(len, columns)):
        raise RequestError(
            f"{uri}: {name} {largest} in a table of {len(columns[0]):,} rows; ids must be numbers from 0 on without large"
            " gaps (are the columns in another order?)"
        )
    return largest + 1


def whole_numbers(uri: str, values: npt.NDArray[Any]) -> Rows:
    """Convert values to int64.

    Raises:
        RequestError: a value is not an integer; the message names the row.
    """
    if values.dtype.kind not in "iuf":
        raise RequestError(f"{uri}: must hold integers, found {values.dtype}")
    bad = np.zeros(values.shape, np.bool_)
    if values.dtype.kind == "f":
        bad = ~(np.abs(values) < _EXACT) | (values != np.floor(values))
    elif values.dtype == np.uint64:
        bad = values > np.iinfo(np.int64).max
    if bad.any():
        row = np.argwhere(bad)[0]
        where = f", row {int(row[0]) + 1}" if len(row) else ""
        raise RequestError(f"{uri}{where}: {values[tuple(row)]} is not an integer; fix the row")
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


def load_matrix(uri: str) -> npt.NDArray[np.float32]:
    """Load a sparse matrix of scipy.sparse.save_npz (csr, csc or coo) or a plain .npy array as dense float32."""
    if is_npy(uri):
        return finite(uri, load_npy(uri))
    parts = load_npz(uri, ("data", "shape", "format"), ("row", "col", "indices", "indptr"))
    shape = tuple(whole_numbers(uri, parts["shape"].reshape(-1)).tolist())
    layout = parts["format"].reshape(-1)[:1].tolist()
    layout = layout[0] if layout else ""
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
    if data.dtype.kind not in "iufb" or any(place.dtype.kind not in "iu" for place in places):
        found = ", ".join(str(array.dtype) for array in (data, *places))
        raise RequestError(f"{uri}: a sparse matrix must hold numbers at integer places, found {found}")
    if len(shape) != 2 or min(shape) < 0 or math.prod(shape) > _FREE_VALUES + _VALUES_PER_ENTRY * data.size:
        raise RequestError(
            f"{uri}: a matrix of shape {shape} with {data.size:,} values is too sparse to be used densely"
        )
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
    with np.errstate(over="ignore"):
        return finite(uri, matrix.astype(np.float32).toarray())


def finite(uri: str, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Convert features to a contiguous float32 matrix.

    Raises:
        RequestError: not a numeric matrix, or a value is not finite; the message names the row.
    """
    if values.ndim != 2 or values.dtype.kind not in "iufb":
        raise RequestError(f"{uri}: features must be a matrix of numbers, found {values.dtype} {values.shape}")
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(values, np.float32)
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        raise RequestError(f"{uri}, row {int(np.argmax(bad)) + 1}: a feature is not finite as float32; fix the row")
    return features


def edge_account(uri: str, what: str, ends: Sequence[Rows], undirected: bool = False) -> Account:
    """Count what becomes of the rows of a table of edges: distinct edges, duplicates and, if undirected, self-loops.

    Args:
        uri: the file.
        what: description of its format.
        ends: integer columns that identify an edge.
        undirected: whether (a, b) is (b, a), and self-loops are dropped.
    """
    rows, loops = len(ends[0]), 0
    columns = [np.asarray(column, np.int64) for column in ends]
    if undirected:
        apart = columns[0] != columns[1]
        loops = rows - int(apart.sum())
        columns = [np.minimum(*columns)[apart], np.maximum(*columns)[apart]]
    order = np.lexsort(columns)
    new = np.zeros(len(order), np.bool_)
    for column in columns:
        new[1:] |= np.diff(column[order]) != 0
    edges = int(new.sum()) + bool(len(order))
    stored = {"edges": edges, "duplicates": len(order) - edges} | ({"self-loops": loops} if undirected else {})
    account = Account(base_name(uri), what, rows, stored)
    account.check()
    return account


def provenance(
    kind: str, uri: str, name: str, files: Sequence[str], accounts: Sequence[Account] = (), **options: Any
) -> dict[str, Any]:
    """Return kind, name, input files, options and accounts for the manifest (no absolute paths, no time)."""
    title = name or base_name(uri).removesuffix(".npz")
    facts = {"kind": kind, "name": title, "files": described(files), "options": options}
    return facts | ({"accounts": [asdict(account) for account in accounts]} if accounts else {})


def _line(error: Exception) -> str:
    return " ".join(str(error).split())

"""Raw files of networks: tables of ids and matrices, with every way they can be wrong told in one line that names the row."""

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
    """The first of ``names`` that is a file of the folder; raises RequestError where none is."""
    for name in names:
        if exists(join(folder, name)):
            return join(folder, name)
    raise RequestError(f"{folder}: no {' or '.join(names)} there; check the path")


def exists(uri: str) -> bool:
    """Whether there is such a file."""
    try:
        described([uri])
    except RequestError:
        return False
    return True


def id_table(uri: str, columns: Sequence[str]) -> dict[str, Rows]:
    """Columns of whole numbers from 0 by name, int64: an .npy matrix, or text with white space between them.

    Raises RequestError naming the row for anything else, and for a table without rows.
    """
    table = load_array(uri) if base_name(uri).endswith(".npy") else _text_table(uri, columns)
    if table.ndim != 2 or table.shape[1] != len(columns):
        raise RequestError(f"{uri}: needs the columns {', '.join(columns)}, found shape {table.shape}")
    if not len(table):
        raise RequestError(f"{uri}: holds no rows, so there is no {columns[-1]} to read; fetch it again")
    whole = whole_numbers(uri, table)
    for place, name in enumerate(columns):
        check_ids(uri, name, whole[:, place], _LARGEST)
    return {name: np.ascontiguousarray(whole[:, place]) for place, name in enumerate(columns)}


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
            f"{uri}, row {row + 1}: {' '.join(map(str, table.iloc[row]))!r} is not {len(columns)} numbers; mend the row"
        )
    return numbers


def whole_numbers(uri: str, values: npt.NDArray[Any]) -> Rows:
    """The values as int64; raises RequestError naming the row of one that is not whole."""
    if values.dtype.kind not in "iuf":
        raise RequestError(f"{uri}: holds {values.dtype} where whole numbers are needed")
    if values.dtype.kind == "f":
        bad = values != np.floor(values)
        if bad.any():
            row = np.argwhere(bad)[0]
            raise RequestError(
                f"{uri}, row {int(row[0]) + 1}: {values[tuple(row)]} is not a whole number; mend the row"
            )
    return values.astype(np.int64)


def check_ids(uri: str, name: str, ids: Rows, size: int) -> None:
    """Raise RequestError naming file and row unless all of ``ids`` lie in 0..size - 1."""
    bad = (ids < 0) | (ids >= size)
    if bad.any():
        row = int(np.argmax(bad))
        raise RequestError(
            f"{uri}, row {row + 1}: {name} {int(ids[row])} is out of range; it must lie in 0 to {size - 1}"
        )


def load_array(uri: str) -> npt.NDArray[Any]:
    """A plain .npy array; raises RequestError for anything that would need pickle."""
    with input_errors(uri), open_binary(uri) as file:
        try:
            array = np.load(file, allow_pickle=False)
        except ARRAY_ERRORS as error:
            raise RequestError(f"{uri}: not a plain .npy array ({_line(error)}); fetch it again") from error
    if not isinstance(array, np.ndarray):
        raise RequestError(f"{uri}: holds several arrays where one is needed")
    return array


def load_matrix(uri: str) -> npt.NDArray[np.float32]:
    """A dense float32 matrix of one that scipy.sparse.save_npz wrote (csr, csc or coo), or of a plain .npy of that name."""
    if _is_plain(uri):
        return finite(uri, load_array(uri))
    parts = load_npz(uri, ("data", "shape", "format"), ("row", "col", "indices", "indptr"))
    shape = tuple(int(size) for size in parts["shape"])
    layout = parts["format"].item()
    layout = layout.decode() if isinstance(layout, bytes) else str(layout)
    names = {"coo": ("row", "col"), "csr": ("indices", "indptr"), "csc": ("indices", "indptr")}.get(layout, ())
    if not names or set(names) - set(parts):
        raise RequestError(f"{uri}: a sparse matrix in the layout {layout!r} cannot be read; save it as csr or coo")
    first, second = (parts[name] for name in names)
    return dense(uri, layout, parts["data"], (first, second), shape)


def dense(
    uri: str, layout: str, data: npt.NDArray[Any], places: tuple[npt.NDArray[Any], ...], shape: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """A sparse matrix given as its parts, dense float32; raises RequestError where they do not fit together."""
    try:
        if layout == "coo":
            matrix: Any = sp.coo_matrix((data, places), shape=shape)
        else:
            kind = sp.csr_matrix if layout == "csr" else sp.csc_matrix
            matrix = kind((data, *places), shape=shape)
            matrix.check_format(full_check=True)
    except (ValueError, IndexError) as error:
        raise RequestError(f"{uri}: not a sparse matrix of shape {shape} ({_line(error)}); fetch it again") from error
    return finite(uri, matrix.astype(np.float32).toarray())


def finite(uri: str, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The features as a float32 matrix; raises RequestError naming the row of one that is not finite."""
    if values.ndim != 2 or values.dtype.kind not in "iufb":
        raise RequestError(f"{uri}: features must be a matrix of numbers, found {values.dtype} {values.shape}")
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise RequestError(f"{uri}, row {int(np.argmax(bad)) + 1}: a feature is not finite; mend the row")
    return np.ascontiguousarray(values, np.float32)


def provenance(kind: str, uri: str, name: str, files: Sequence[str], **options: Any) -> dict[str, Any]:
    """What every network says of its making: no absolute paths, no time."""
    called = name or base_name(uri).removesuffix(".npz")
    return {"kind": kind, "name": called, "files": described(files), "options": options}


def _is_plain(uri: str) -> bool:
    with input_errors(uri), open_binary(uri) as file:
        return file.read(6) == b"\x93NUMPY"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())

"""Text tables of a TUDataset: which files of a folder or zip they are, and their numbers, checked row by row."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from distgnn.corpus.sources.files import check_members, data_members, described, input_errors, open_binary
from distgnn.errors import RequestError
from distgnn.storage.folder import open_folder
from distgnn.storage.uri import base_name

TABLES = (
    *("A", "graph_indicator", "graph_labels", "graph_attributes"),
    *("node_labels", "node_attributes", "edge_labels", "edge_attributes"),
)
_LARGEST = 1 << 53
Table = npt.NDArray[Any]


def contents(uri: str) -> dict[str, bytes]:
    """Bytes of the known tables by name (A, graph_indicator, ...)."""
    with input_errors(uri):
        if base_name(uri).lower().endswith(".zip"):
            found = _unzipped(uri)
        else:
            folder = open_folder(uri)
            names = [name for name in folder.names() if name.endswith(".txt") and not name.startswith("._")]
            found = {name: folder.read(name) for name in names}
    prefixes = [base_name(name).removesuffix("_A.txt") for name in found if name.endswith("_A.txt")]
    if len(prefixes) != 1:
        raise RequestError(
            f"{uri}: not one TUDataset (found {len(prefixes)} files named *_A.txt); name its folder or zip"
        )
    files = {base_name(name): data for name, data in found.items()}
    return {table: files[name] for table in TABLES if (name := f"{prefixes[0]}_{table}.txt") in files}


def _unzipped(uri: str) -> dict[str, bytes]:
    with open_binary(uri) as file, zipfile.ZipFile(file) as archive:
        check_members(uri, archive, described([uri])[0]["bytes"])
        return {name: archive.read(name) for name in data_members(archive) if name.endswith(".txt")}


def parse(uri: str, name: str, data: bytes, rows: int | None) -> Table:
    """Parse a table as float64 [rows, columns]."""
    where = f"{uri}, table {name}"
    counts = [line.count(b",") for line in data.splitlines() if line.strip()]
    odd = next((row for row, count in enumerate(counts) if count != counts[0]), None)
    if odd is not None:
        raise RequestError(
            f"{where}, row {odd + 1}: rows have unequal lengths ({counts[odd] + 1} values, then {counts[0] + 1})"
        )
    try:
        table = pd.read_csv(io.BytesIO(data), header=None, skipinitialspace=True).to_numpy(np.float64)
    except ValueError as error:  # pandas' own parser errors are ValueErrors
        raise RequestError(f"{where}: not rows of numbers ({' '.join(str(error).split())})") from error
    if rows is not None and len(table) != rows:
        raise RequestError(f"{where}: {len(table)} rows where {rows} belong")
    finite = np.isfinite(table) if name != "graph_attributes" else ~np.isinf(table)  # NaN = unknown target
    check_rows(np.asarray(finite.all(axis=1)), where, "NaN or infinite")
    if not name.endswith("_attributes"):
        good = (table == np.floor(table)) & (np.abs(table) < _LARGEST)
        check_rows(np.asarray(good.all(axis=1)), where, "not a whole number; numbers belong into a table of attributes")
    return table


def check_rows(good: npt.NDArray[np.bool_], where: str, problem: str) -> None:
    """Raise RequestError with the number of the first row that is not ``good``."""
    if not good.all():
        raise RequestError(f"{where}, row {int(np.argmin(good)) + 1}: {problem}")

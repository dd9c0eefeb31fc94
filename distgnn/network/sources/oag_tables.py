"""Reader of OAG's tab-separated tables as published by HGT and GPT-GNN, with errors that name the row."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from distgnn.corpus.sources.files import input_errors, open_binary
from distgnn.errors import RequestError
from distgnn.network.sources.reading import Rows, finite
from distgnn.storage.uri import join

_DATE = "20190919"
_LONGEST = 1 << 20
Table = Any
"""A pandas DataFrame or Series, whose annotations are too loose for type checking."""
TABLES: dict[str, dict[str, int]] = {
    "Papers": {"paper": 0, "year": 1, "title": 2, "venue": 3, "language": 4, "kind": -2},
    "PR": {"paper": 0, "cited": 1},
    "PF": {"paper": 0, "field": 1},
    "PAuAf": {"paper": 0, "author": 1, "affiliation": 2, "place": -1},
    "FHierarchy": {"field": 0, "parent": 1, "level": 2, "parent_level": 3},
}
"""Column positions by table (name without the domain) and column; negative positions count from the end."""


def table_uri(folder: str, table: str, domain: str) -> str:
    """Return the URI of a table; the hierarchy of fields is shared by all domains."""
    return join(folder, f"{table}{'' if table == 'FHierarchy' else domain}_{_DATE}.tsv")


def read_table(folder: str, table: str, domain: str) -> Table:
    """Read the named columns of a table with a header line.

    Returns:
        A DataFrame of text; empty fields are empty text.

    Raises:
        RequestError: the table is missing, empty, or has rows of differing width.
    """
    uri, columns = table_uri(folder, table, domain), TABLES[table]
    with input_errors(uri), open_binary(uri) as file:
        header = file.readline(_LONGEST).rstrip(b"\r\n").split(b"\t")
    width = len(header)
    if header[0].isdigit():
        raise RequestError(
            f"{uri}: the first line must be a header, found {header[0].decode()[:40]!r}; download it again"
        )
    places = {name: place % width for name, place in columns.items() if -width <= place < width}
    if len(set(places.values())) < len(columns):
        raise RequestError(f"{uri}: needs the columns {', '.join(columns)}, found {width} columns")
    found = _read_strictly(uri, width, [str(place) for place in places.values()])
    if not len(found):
        raise RequestError(f"{uri}: the table has no rows; download it again")
    return found.set_axis(list(places), axis=1)


def _read_strictly(uri: str, width: int, columns: list[str]) -> Table:
    """Read columns (by number) of a table and require ``width`` fields in every row, which pandas does not check."""
    names = [str(place) for place in range(width)]
    with input_errors(uri), open_binary(uri) as file:
        try:
            return csv.read_csv(
                cast(Any, file),
                # With threads, errors lack the row number.
                csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False),
                csv.ParseOptions(delimiter="\t", quote_char=False),
                csv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(names, pa.string())),
            ).to_pandas()
        except pa.ArrowInvalid as error:
            raise RequestError(f"{uri}: not a table of {width} columns ({' '.join(str(error).split())})") from error


def numbers(uri: str, column: Table) -> Rows:
    """Parse a column of integers.

    Raises:
        RequestError: a value is not an integer; the message names the row (the header is row 1).
    """
    parsed: Table = pd.to_numeric(column, errors="coerce")
    values = parsed.to_numpy(np.float64, na_value=np.nan)
    bad = ~(np.floor(values) == values)
    if bad.any():
        row = int(np.argmax(bad))
        text = f"{column.name} {column.iloc[row]!r} is not an integer"
        raise RequestError(f"{uri}, row {int(column.index[row]) + 2}: {text}; fix the row")
    return values.astype(np.int64)


def read_vectors(folder: str) -> tuple[pd.Index, npt.NDArray[np.float32]]:
    """Read the vectors of venues, fields and affiliations.

    Returns:
        Ids, and vectors float32 [ids, d].
    """
    uri = join(folder, "vfi_vector.tsv")
    with input_errors(uri), open_binary(uri) as file:
        try:
            table = pd.read_csv(file, sep=r"\s+", header=None, dtype={0: str}, keep_default_na=False)
        except RequestError:
            raise
        except ValueError as error:
            raise RequestError(
                f"{uri}: each row must hold an id and a vector ({' '.join(str(error).split())})"
            ) from error
    vectors = table.drop(columns=0).apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    ids = pd.Index(table[0].to_numpy(object), dtype=object)
    if not ids.is_unique:
        raise RequestError(f"{uri}: the id {ids[ids.duplicated()][0]!r} has two vectors; remove one")
    return ids, finite(uri, vectors)

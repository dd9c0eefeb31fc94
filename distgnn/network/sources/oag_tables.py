"""The tab-separated tables of OAG as HGT and GPT-GNN publish them: which column means what, read whole, checked by row."""

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
# name of the table without the domain -> column name and its place; negative places count from the last column
Table = Any
"""A pandas DataFrame or column, whose own annotations allow too much to be checked."""
TABLES: dict[str, dict[str, int]] = {
    "Papers": {"paper": 0, "year": 1, "title": 2, "venue": 3, "language": 4, "kind": -2},
    "PR": {"paper": 0, "cited": 1},
    "PF": {"paper": 0, "field": 1},
    "PAuAf": {"paper": 0, "author": 1, "affiliation": 2, "place": -1},
    "FHierarchy": {"field": 0, "parent": 1, "level": 2, "parent_level": 3},
}


def table_uri(folder: str, table: str, domain: str) -> str:
    """Where a table lies; the hierarchy of fields is the same for all domains."""
    return join(folder, f"{table}{'' if table == 'FHierarchy' else domain}_{_DATE}.tsv")


def read_table(folder: str, table: str, domain: str) -> Table:
    """The named columns of a table with a header line, as text; empty fields are empty text."""
    uri, columns = table_uri(folder, table, domain), TABLES[table]
    with input_errors(uri), open_binary(uri) as file:
        width = len(file.readline().rstrip(b"\r\n").split(b"\t"))
    places = {name: place % width for name, place in columns.items() if -width <= place < width}
    if len(set(places.values())) < len(columns):
        raise RequestError(f"{uri}: needs the columns {', '.join(columns)}, found {width} columns")
    found = _read_strictly(uri, width, [str(place) for place in places.values()])
    if not len(found):
        raise RequestError(f"{uri}: holds no rows; fetch it again")
    return found.set_axis(list(places), axis=1)


def _read_strictly(uri: str, width: int, wanted: list[str]) -> Table:
    """The wanted columns (by number) of a table all of whose rows have ``width`` fields; pandas would not mind if not."""
    names = [str(place) for place in range(width)]
    with input_errors(uri), open_binary(uri) as file:
        try:
            return csv.read_csv(
                cast(Any, file),
                csv.ReadOptions(
                    column_names=names, skip_rows=1, use_threads=False
                ),  # threads lose the number of the row
                csv.ParseOptions(delimiter="\t", quote_char=False),
                csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(names, pa.string())),
            ).to_pandas()
        except pa.ArrowInvalid as error:
            raise RequestError(f"{uri}: not a table of {width} columns ({' '.join(str(error).split())})") from error


def numbers(uri: str, column: Table) -> Rows:
    """The whole numbers of a column; raises RequestError naming the row (the header is row 1) of anything else."""
    parsed: Table = pd.to_numeric(column, errors="coerce")
    values = parsed.to_numpy(np.float64, na_value=np.nan)
    bad = ~(np.floor(values) == values)
    if bad.any():
        row = int(np.argmax(bad))
        text = f"{column.name} {column.iloc[row]!r} is not a whole number"
        raise RequestError(f"{uri}, row {int(column.index[row]) + 2}: {text}; mend the row")
    return values.astype(np.int64)


def read_vectors(folder: str) -> tuple[pd.Index, npt.NDArray[np.float32]]:
    """Ids of venues, fields and affiliations, and their vectors float32 [ids, d]: id, tab, numbers with blanks between."""
    uri = join(folder, "vfi_vector.tsv")
    with input_errors(uri), open_binary(uri) as file:
        try:
            table = pd.read_csv(file, sep=r"\s+", header=None, dtype={0: str})
        except RequestError:
            raise
        except ValueError as error:
            raise RequestError(f"{uri}: not an id and a vector a row ({' '.join(str(error).split())})") from error
    vectors = table.drop(columns=0).apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    return pd.Index(table[0].to_numpy()), finite(uri, vectors)

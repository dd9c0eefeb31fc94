"""Parquet files of others as Arrow batches of plain types, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from distgnn.corpus.sources.files import input_errors, open_binary
from distgnn.corpus.sources.parquet import ParquetColumns
from distgnn.errors import RequestError
from distgnn.relational.sources.base import BATCH_ROWS, plain_type
from distgnn.storage.folder import Folder


def names_of(folder: Folder, name: str) -> list[str]:
    """Names of all columns of a Parquet file."""
    uri = folder.at(name)
    with input_errors(uri), open_binary(uri) as file:
        return ParquetColumns(uri, file).names


def types_of(folder: Folder, name: str, columns: tuple[str, ...] = ()) -> pa.Schema:
    """Names and types of the ``columns`` of a Parquet file, in this order; all that can be read if none are named."""
    uri = folder.at(name)
    with input_errors(uri), open_binary(uri) as file:
        found = ParquetColumns(uri, file)
        missing = [column for column in columns if column not in found.names]
        if missing:
            raise RequestError(f"{uri}: no column {missing[0]!r}; it has {', '.join(found.names[:20])}")
        twice = [column for column in found.names if found.names.count(column) > 1]
        if twice:
            raise RequestError(f"{uri}: two columns are called {twice[0]!r}; rename one")
        kinds = {column: plain_type(found.kind(column)) for column in columns or found.names}
        return pa.schema([(column, kind) for column, kind in kinds.items() if kind is not None])


def batches_of(folder: Folder, name: str, columns: tuple[str, ...] = ()) -> Iterator[pa.RecordBatch]:
    """Iterate over the rows of a Parquet file."""
    types, uri = types_of(folder, name, columns), folder.at(name)
    with input_errors(uri), open_binary(uri) as file:
        for batch in ParquetColumns(uri, file).batches(types.names, BATCH_ROWS):
            yield pa.RecordBatch.from_arrays([batch.column(item.name).cast(item.type) for item in types], schema=types)


class ParquetTables:
    """Base class of sources whose tables are files TABLE.parquet of one folder.

    Args:
        folder: The folder.
        columns: Columns to read of each table; empty = all.
    """

    def __init__(self, folder: Folder, columns: dict[str, tuple[str, ...]]) -> None:
        self._tables_folder, self._columns = folder, columns

    def tables(self) -> tuple[str, ...]:
        """Names of the tables."""
        return tuple(self._columns)

    def types(self, table: str) -> pa.Schema:
        """Names and Arrow types of the columns of a table."""
        return types_of(self._tables_folder, f"{table}.parquet", self._columns[table])

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """Iterate over the rows of a table."""
        return batches_of(self._tables_folder, f"{table}.parquet", self._columns[table])

"""Columns of Parquet files of others, in bounded memory: such a file can unpack to far more than its size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from distgnn.corpus.sources.files import described, unpacked_limit
from distgnn.errors import RequestError

_ERRORS = (pa.ArrowException, OSError, NotImplementedError)
_ROWS_PER_BYTE = 64


class ParquetColumns:
    """A Parquet file, open for reading some of its columns.

    Text is read as dictionaries, so that a long value which is repeated takes the memory of one.

    Args:
        uri: The file, for messages and for its size.
        file: Its bytes; use it within :func:`~distgnn.corpus.sources.files.input_errors`.

    Raises:
        RequestError: The file is damaged, or claims more rows than it can hold.
    """

    def __init__(self, uri: str, file: IO[bytes]) -> None:
        size = described([uri])[0]["bytes"]
        self.uri, self._source, self._limit = uri, file, unpacked_limit(size)
        self._file = self._open(())
        rows = self._file.metadata.num_rows
        if rows > _ROWS_PER_BYTE * size:
            raise RequestError(f"{uri}: claims {rows:,} rows in {size:,} bytes; refusing it")

    @property
    def names(self) -> list[str]:
        """Names of all columns."""
        return [str(name) for name in self._file.schema_arrow.names]

    def kind(self, name: str) -> Any:
        """Return the Arrow type of a column, or of its values if they are a dictionary."""
        found: Any = self._file.schema_arrow.field(name).type
        return found.value_type if pa.types.is_dictionary(found) else found

    def batches(self, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Iterate over the rows of ``columns``, at most ``rows`` at a time.

        Raises:
            RequestError: The file is damaged, or what is read at a time unpacks to more than
                :func:`~distgnn.corpus.sources.files.unpacked_limit` bytes.
        """
        self._check_declared(columns)
        text = [
            name for name in columns if pa.types.is_string(self.kind(name)) or pa.types.is_large_string(self.kind(name))
        ]
        file = self._open(tuple(text))
        try:
            for batch in file.iter_batches(rows, columns=columns, use_threads=False):
                self._check_bytes(sum(_text_bytes(batch.column(name)) for name in text))
                yield batch
        except _ERRORS as error:
            raise self._damaged(error) from error

    def _open(self, dictionaries: tuple[str, ...]) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._source, read_dictionary=list(dictionaries))
        except _ERRORS as error:
            raise self._damaged(error) from error

    def _check_declared(self, columns: list[str]) -> None:
        """Refuse row groups whose columns are too large by what the footer says."""
        for number in range(self._file.num_row_groups):
            group = self._file.metadata.row_group(number)
            chunks = (group.column(column) for column in range(group.num_columns))
            self._check_bytes(
                sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in columns)
            )

    def _check_bytes(self, count: int) -> None:
        if count > self._limit:
            raise RequestError(
                f"{self.uri}: unpacks to more than {self._limit:,} bytes at once; write smaller row groups"
            )

    def _damaged(self, error: Exception) -> RequestError:
        return RequestError(
            f"{self.uri}: damaged, or not Parquet ({' '.join(str(error).split())[:200]}); write it again"
        )


def _text_bytes(column: pa.Array) -> int:
    """Return the bytes of a dictionary column as plain text."""
    if not isinstance(column, pa.DictionaryArray):
        return 0
    return pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0

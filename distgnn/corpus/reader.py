"""CorpusReader: units and columns of a corpus, checked on read, without Ray."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from distgnn.corpus.footers import Footer, Footers
from distgnn.corpus.manifest import Manifest, read_manifest
from distgnn.corpus.shard import arrow_schema, check_values, unpack
from distgnn.errors import RequestError, WorkError
from distgnn.graph.batch import GraphBatch, concat_graphs
from distgnn.storage.folder import Folder, open_folder, storage_errors
from distgnn.storage.retry import note_error

_ROW_COLUMNS = ("group", "split")
_OPEN_SHARDS = 4
"""Shards that a thread keeps open, each with its decoded footer. With a kept footer, another one opens in 0.03 ms."""
_CHUNK_BYTES, _FOOTER_BYTES = 160, 64 << 10
"""Bytes of a footer for each column of a unit, and besides what Arrow reads first; a larger one takes another request."""
_DAMAGE = ("crc", "checksum", "thrift")
"""Words of Arrow's errors about damaged pages and page headers."""
_MIN_VALUES, _VALUES_PER_BYTE = 1 << 25, 1000
"""Most values of a unit: any unit may have the first number of them, and more only for more bytes."""


def _check_group(found: pq.RowGroupMetaData, manifest: Manifest, shard: int, group: int, where: str) -> None:
    """Compare a row group with the manifest and with its size in the file, before it is decoded."""
    unit = shard * (manifest.shard_rows // manifest.unit_rows) + group
    if found.num_rows != manifest.rows_of(unit):
        raise RequestError(f"{where}: {found.num_rows} rows where {manifest.rows_of(unit)} belong; restore the shard")
    columns = [found.column(number) for number in range(found.num_columns)]
    values, size = sum(column.num_values for column in columns), sum(column.total_compressed_size for column in columns)
    if not 0 <= values <= max(_MIN_VALUES, _VALUES_PER_BYTE * size):
        raise RequestError(f"{where}: {values} values cannot be in {size} bytes; restore the shard")


class _OpenShards(threading.local):
    """The shards that a thread has open, the one used last at the end.

    Threads do not share files, since their reads would wait for each other.
    """

    def __init__(self) -> None:
        self.files = OrderedDict[int, pq.ParquetFile]()


class CorpusReader:
    """Reader of units by number, for any number of threads.

    The footer of a shard is read and compared with the manifest once, and kept (:mod:`distgnn.corpus.footers`). On S3 that
    is one request, and reading a unit is another. Instances can be pickled and sent to workers.

    Args:
        uri: the corpus.
        labels: whether units include ``y`` (pre-training does not need it).

    Raises:
        RequestError: there is no complete corpus at ``uri``.
    """

    def __init__(self, uri: str, labels: bool = False) -> None:
        self.uri, self.with_labels = uri, labels
        self.folder: Folder = open_folder(uri)
        self.manifest: Manifest = read_manifest(self.folder)
        self._columns = [
            name
            for name in arrow_schema(self.manifest.schema).names
            if name not in _ROW_COLUMNS and (labels or name != "y")
        ]
        self._open_shards = _OpenShards()
        self._footers = Footers()

    def __getstate__(self) -> dict[str, Any]:
        own = ("_open_shards", "_footers")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_open_shards": _OpenShards(), "_footers": Footers()}

    def _shard(self, number: int) -> pq.ParquetFile:
        opened = self._open_shards.files
        if number in opened:
            opened.move_to_end(number)
            return opened[number]
        file = self._open(number)
        while len(opened) >= _OPEN_SHARDS:
            opened.popitem(last=False)  # its file is closed with it
        opened[number] = file
        return file

    def _open(self, number: int) -> pq.ParquetFile:
        entry, footer = self.manifest.shards[number], self._footers.get(number)
        where, found = self.folder.at(entry.name), self._opened(number, footer)
        if found is None:
            raise RequestError(f"{where}: missing shard; restore it or rebuild the corpus")
        raw, version = found
        if raw.size() != entry.bytes:
            raise RequestError(
                f"{where}: truncated or changed: {raw.size()} bytes, but corpus.json records {entry.bytes}; restore it"
            )
        try:
            file = pq.ParquetFile(
                raw,
                metadata=footer and footer.metadata,
                page_checksum_verification=True,
                pre_buffer=not self.folder.local,
            )
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RequestError(f"{where}: not readable as Parquet ({reason}); restore the shard") from error
        if not footer:
            self._check_footer(file, number, where)
            self._footers.keep(number, Footer(file.metadata, version))
        return file

    def _opened(self, number: int, footer: Footer | None) -> tuple[pa.NativeFile, str] | None:
        """Open the file of a shard; one request on S3, none if its footer is kept."""
        entry, manifest = self.manifest.shards[number], self.manifest
        if footer:
            file = self.folder.open_version(entry.name, entry.bytes, footer.version)
            return None if file is None else (file, footer.version)
        units, columns = -(-entry.graphs // manifest.unit_rows), len(arrow_schema(manifest.schema))
        return self.folder.open_sized(entry.name, entry.bytes, _FOOTER_BYTES + _CHUNK_BYTES * units * columns)

    def _check_footer(self, file: pq.ParquetFile, number: int, where: str) -> None:
        entry, manifest = self.manifest.shards[number], self.manifest
        found, expected = file.schema_arrow.remove_metadata(), arrow_schema(manifest.schema)
        if not found.equals(expected):
            differing = sorted(set(map(str, expected)) ^ set(map(str, found)))
            raise RequestError(
                f"{where}: schema differs from corpus.json ({'; '.join(differing)[:200]}); restore the shard"
            )
        if file.metadata.num_rows != entry.graphs or file.num_row_groups != -(-entry.graphs // manifest.unit_rows):
            raise RequestError(
                f"{where}: {file.metadata.num_rows} rows, but corpus.json records {entry.graphs}; restore it"
            )
        for group in range(file.num_row_groups):
            _check_group(file.metadata.row_group(group), manifest, number, group, f"{where}, unit {group}")

    def check_first(self) -> None:
        """Open the first shard, so that nothing is allocated for graphs that only corpus.json claims.

        All shards but the last have as many graphs as the first.
        """
        self.check_shard(0)

    def check_shard(self, number: int) -> None:
        """Compare the size and the row counts of a shard with the manifest; raises RequestError if they differ."""
        with storage_errors("read", self.folder.at(self.manifest.shards[number].name)):
            self._shard(number)

    def table(self, unit: int, columns: list[str] | None = None) -> pa.Table:
        """Return the raw rows of a unit. A unit that arrives damaged from remote storage is fetched once more."""
        try:
            return self._table(unit, columns)
        except RequestError:
            if self.folder.local:
                raise
            note_error("damaged")
            shard = self.manifest.locate(unit)[0]
            self._open_shards.files.pop(shard, None)
            self._footers.drop(shard)
            return self._table(unit, columns)

    def _table(self, unit: int, columns: list[str] | None) -> pa.Table:
        shard, group = self.manifest.locate(unit)
        where = self.where(unit)
        try:
            with storage_errors("read", where):
                return self._shard(shard).read_row_group(group, columns=columns, use_threads=False)
        except WorkError as error:
            if any(word in str(error).lower() for word in _DAMAGE):
                raise RequestError(f"{where}: wrong checksum, the bytes are damaged; restore the shard") from error
            raise

    def where(self, unit: int) -> str:
        """Return shard and unit for error messages."""
        shard, group = self.manifest.locate(unit)
        return f"{self.folder.at(self.manifest.shards[shard].name)}, unit {group}"

    def unit(self, unit: int) -> GraphBatch:
        """Read all graphs of a unit.

        Raises:
            RequestError: the unit is damaged; the message names shard, unit and row.
        """
        where = self.where(unit)
        graphs = unpack(self.manifest.schema, self.table(unit, self._columns), where)
        check_values(self.manifest.schema, graphs, where)
        return graphs

    def units(self) -> Iterator[GraphBatch]:
        """Iterate over all units in order."""
        return (self.unit(number) for number in range(self.manifest.units))

    def load(self) -> GraphBatch:
        """Read the whole corpus as one batch; memory grows with the corpus."""
        return concat_graphs(list(self.units()))

    def labels(self) -> npt.NDArray[np.float32]:
        """Read the labels of all graphs; no other column is read.

        Returns:
            float32 [G, T], NaN where unknown.

        Raises:
            RequestError: the corpus has no labels, or a unit is damaged.
        """
        width = len(self.manifest.schema.labels)
        if not width:
            raise RequestError(f"{self.uri}: the corpus has no labels; build it with labels")
        parts = []
        for unit in range(self.manifest.units):
            values = self.table(unit, ["y"]).column("y").combine_chunks().flatten().to_numpy(zero_copy_only=False)
            if len(values) != self.manifest.rows_of(unit) * width:
                raise RequestError(f"{self.where(unit)}, field y: {len(values)} values, not {width} per graph")
            if np.isinf(values).any():
                raise RequestError(f"{self.where(unit)}, field y: a label is infinite; rebuild the corpus")
            parts.append(values.reshape(-1, width))
        return np.concatenate(parts)

    def column(self, name: str) -> npt.NDArray[np.object_]:
        """Read a per-graph column of the whole corpus.

        Args:
            name: "group" or "split".

        Returns:
            Object array [G]; None where unknown.

        Raises:
            RequestError: the corpus has no such column.
        """
        if name not in arrow_schema(self.manifest.schema).names:
            raise RequestError(
                f"{self.uri}: the corpus has no {name!r} column; choose another split or rebuild it with one"
            )
        parts = [self.table(unit, [name]).column(name) for unit in range(self.manifest.units)]
        return pa.concat_tables([pa.table({name: part}) for part in parts]).column(name).to_numpy(zero_copy_only=False)

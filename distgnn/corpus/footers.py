"""Footers of Parquet shards in memory: compressed, those used last also decoded."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

_PACKED_BYTES, _DECODED_BYTES = 64 << 20, 32 << 20
"""Memory for compressed and for decoded footers: about 3,800 and 40 of shards of 128 units with 7 columns."""
_DECODED = 10
"""How many times its size in the file a decoded footer takes (measured)."""
_CODEC = pa.Codec("zstd")


class Footer(NamedTuple):
    """Footer of a shard.

    Attributes:
        metadata: The decoded footer.
        version: Version of the file on remote storage, "" where there is none.
    """

    metadata: pq.FileMetaData
    version: str


class _Packed(NamedTuple):
    """A footer as Parquet, compressed with zstd to about a fifth; its size before that; the version of the file."""

    data: bytes
    size: int
    version: str


class Footers:
    """Footers of shards by number, for any number of threads; the ones used least recently are dropped first."""

    def __init__(self) -> None:
        self._packed, self._decoded = OrderedDict[int, _Packed](), OrderedDict[int, Footer]()
        self._packed_bytes = self._decoded_bytes = 0
        self._lock = threading.Lock()

    def __contains__(self, shard: int) -> bool:
        return shard in self._packed

    def get(self, shard: int) -> Footer | None:
        """Footer of ``shard``, None if it is not kept."""
        with self._lock:
            packed, footer = self._packed.get(shard), self._decoded.get(shard)
            if packed is None:
                return None
            self._packed.move_to_end(shard)
            if footer is not None:
                self._decoded.move_to_end(shard)
                return footer
        data = _CODEC.decompress(packed.data, packed.size)
        footer = Footer(pq.read_metadata(pa.BufferReader(data)), packed.version)
        with self._lock:
            if self._packed.get(shard) is packed:
                self._keep_decoded(shard, footer)
        return footer

    def keep(self, shard: int, footer: Footer) -> None:
        """Keep the footer of ``shard``; older ones are dropped once the memory for footers is full."""
        with io.BytesIO() as file:
            footer.metadata.write_metadata_file(file)
            data = file.getvalue()
        packed = _Packed(_CODEC.compress(data, asbytes=True), len(data), footer.version)
        with self._lock:
            self._drop(shard)
            self._packed[shard] = packed
            self._packed_bytes += len(packed.data)
            self._keep_decoded(shard, footer)
            while self._packed_bytes > _PACKED_BYTES and len(self._packed) > 1:
                self._drop(next(iter(self._packed)))

    def drop(self, shard: int) -> None:
        """Forget the footer of ``shard``."""
        with self._lock:
            self._drop(shard)

    def _keep_decoded(self, shard: int, footer: Footer) -> None:
        self._drop_decoded(shard)
        self._decoded[shard] = footer
        self._decoded_bytes += _DECODED * footer.metadata.serialized_size
        while self._decoded_bytes > _DECODED_BYTES and len(self._decoded) > 1:
            self._drop_decoded(next(iter(self._decoded)))

    def _drop(self, shard: int) -> None:
        if shard in self._packed:
            self._packed_bytes -= len(self._packed.pop(shard).data)
        self._drop_decoded(shard)

    def _drop_decoded(self, shard: int) -> None:
        if shard in self._decoded:
            self._decoded_bytes -= _DECODED * self._decoded.pop(shard).metadata.serialized_size

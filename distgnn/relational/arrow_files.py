"""Arrays as Arrow IPC files of one record batch, memory-mapped from a local folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from distgnn.errors import RequestError
from distgnn.storage.folder import Folder, storage_errors
from distgnn.storage.records import Count, Digest
from distgnn.storage.temporary import temporary_tail

Written = tuple[Digest, Count]
"""sha256 and size of a file."""


def write_array(folder: Folder, name: str, array: pa.Array) -> Written:
    """Write an array to the file ``name``, atomically; returns its digest and size."""
    batch = pa.RecordBatch.from_arrays([array], names=["values"])
    if folder.local:
        return _write_local(folder, name, batch.schema, (batch,))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    data = sink.getvalue()
    folder.write(name, data)
    return hashlib.sha256(data).hexdigest(), data.size


def write_table(folder: Folder, name: str, types: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Written:
    """Write the batches of a table to the file ``name`` of a local folder as they come."""
    return _write_local(folder, name, types, batches)


def _write_local(folder: Folder, name: str, types: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Written:
    path = folder.locate(name)
    temporary = f"{path}{temporary_tail()}"
    with storage_errors("write", folder.at(name)):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        _fill(folder, name, temporary, types, batches)
        with storage_errors("write", folder.at(name)):
            digest = digest_of(temporary)
            size = os.path.getsize(temporary)
            os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return digest, size


def _fill(folder: Folder, name: str, path: str, types: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    iterator = iter(batches)
    with storage_errors("write", folder.at(name)):
        sink = pa.OSFile(path, "wb")
    with sink, pa.ipc.new_file(sink, types) as writer:
        while (batch := next(iterator, None)) is not None:  # errors of the source are not errors of this file
            with storage_errors("write", folder.at(name)):
                writer.write_batch(batch)


def digest_of(path: str) -> str:
    """Return the sha256 of a local file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_table(folder: Folder, name: str) -> pa.Table:
    """Open a file of record batches; it is memory-mapped if the folder is local.

    Raises:
        RequestError: It is no Arrow file.
    """
    with storage_errors("read", folder.at(name)):
        source: Any = pa.memory_map(folder.locate(name)) if folder.local else pa.BufferReader(folder.read(name))
    try:
        return pa.ipc.open_file(source).read_all()
    except (pa.ArrowException, ValueError, OSError) as error:
        raise RequestError(
            f"{folder.at(name)}: not an Arrow file ({' '.join(str(error).split())[:200]}); build again"
        ) from error


def read_array(folder: Folder, name: str) -> pa.Array:
    """Open an array that :func:`write_array` wrote.

    Raises:
        RequestError: It is no such file, or its offsets are wrong.
    """
    table = read_table(folder, name)
    try:
        column = table.column("values")
        array = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        if column.num_chunks > 1:
            raise ValueError("several record batches")
        array.validate(full=pa.types.is_large_string(array.type))
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise RequestError(f"{folder.at(name)}: damaged ({' '.join(str(error).split())[:200]}); build again") from error
    return array

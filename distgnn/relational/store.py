"""Stores of databases: Arrow columns and foreign-key indexes, memory-mapped, with the digest of every file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import Lock

import numpy as np
import pyarrow as pa

from distgnn.errors import RequestError
from distgnn.relational.arrow_files import digest_of, read_array
from distgnn.relational.database import Database, Part, in_memory
from distgnn.relational.manifest import STORE, Manifest, Stored, read_manifest
from distgnn.relational.schema import ForeignKey, Kind, Schema
from distgnn.relational.sources.base import Input
from distgnn.relational.sources.database_json import FILE, DatabaseJson
from distgnn.relational.tasks import verify_tasks
from distgnn.storage.folder import Folder, open_folder

_TYPES = {Kind.NUMBER: pa.float64(), Kind.TIME: pa.int64(), Kind.CATEGORY: pa.int32(), Kind.TEXT: pa.large_string()}
_LINK_TYPES = {
    "parent": pa.int32(),
    "indptr": pa.int64(),
    "rows": pa.int32(),
    "time": pa.int64(),
    "categories": pa.large_string(),
}


def open_database(uri: str) -> Database:
    """Open a database: a store, or a folder with database.json and Parquet files, which is read into memory.

    Args:
        uri: Path or URI of the folder.

    Returns:
        The database. Columns of a local store are memory-mapped when they are first used.

    Raises:
        RequestError: It is neither, or damaged.
    """
    folder = open_folder(uri)
    if folder.size(STORE) is None and folder.size(FILE) is not None:
        source = DatabaseJson(Input(uri))
        return in_memory(source, source.schema())
    manifest = read_manifest(folder)
    return Database(manifest.schema, manifest.rows, StoredArrays(folder, manifest), uri)


class StoredArrays(Mapping[Part, pa.Array]):
    """Arrays of a store, opened and checked when they are first used."""

    def __init__(self, folder: Folder, manifest: Manifest) -> None:
        self._folder, self._manifest, self._lock = folder, manifest, Lock()
        self._stored = {(item.table, item.column, item.part): item for item in manifest.arrays}
        self._opened: dict[Part, pa.Array] = {}

    def __getitem__(self, part: Part) -> pa.Array:
        with self._lock:
            if part not in self._opened:
                self._opened[part] = self._open(part)
            return self._opened[part]

    def __iter__(self) -> Iterator[Part]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def _open(self, part: Part) -> pa.Array:
        if part not in self._stored:
            raise RequestError(
                f"{self._folder.uri}: the file of {'.'.join(part)} is not listed in {STORE}; build again"
            )
        item = self._stored[part]
        size = self._folder.size(item.file)
        if size != item.bytes:
            found = "is missing" if size is None else f"has {size} bytes, not {item.bytes}"
            raise RequestError(f"{self._folder.at(item.file)}: the file {found}; restore it or build again")
        array = read_array(self._folder, item.file)
        problem = _problem(item, array, self._manifest)
        if problem:
            raise RequestError(f"{self._folder.at(item.file)}: {problem}; restore it or build again")
        return array


def _problem(item: Stored, array: pa.Array, manifest: Manifest) -> str:
    """Return what is wrong with an array: type, length, nulls or range; "" if nothing is."""
    kind = manifest.schema.column(item.table, item.column).kind
    wanted = _LINK_TYPES.get(item.part) or _TYPES.get(kind)
    if wanted not in (None, array.type):
        return f"holds {array.type}, not {wanted}"
    rows = manifest.rows[item.table]
    if item.part in ("", "parent", "time") and len(array) != rows:
        return f"holds {len(array)} values, not {rows}"
    if array.null_count and kind in (Kind.NUMBER, Kind.TIME, Kind.CATEGORY):
        return f"holds {array.null_count} nulls"
    if item.part in ("parent", "rows", "indptr"):
        return _link_problem(item, array, manifest)
    return ""


def _link_problem(item: Stored, array: pa.Array, manifest: Manifest) -> str:
    parents = manifest.rows[_parent(manifest.schema, item)]
    values, rows = array.to_numpy(), manifest.rows[item.table]
    if item.part == "indptr":
        good = (
            len(values) == parents + 1 and values[0] == 0 and bool((np.diff(values) >= 0).all()) and values[-1] <= rows
        )
        return "" if good else "does not point into the children"
    low, high = (-1, parents) if item.part == "parent" else (0, rows)
    good = not len(values) or low <= int(values.min()) <= int(values.max()) < high
    return "" if good else f"holds rows outside of [{low}, {high})"


def _parent(schema: Schema, item: Stored) -> str:
    key = next((one for one in schema.foreign_keys if (one.table, one.column) == (item.table, item.column)), None)
    return (key or ForeignKey(item.table, item.column, item.table)).parent


def verify_database(uri: str) -> list[str]:
    """Check every byte of a store against the SHA-256 digests, every array and the rows of tasks; returns one line per problem.

    Raises:
        RequestError: There is no store, or its manifest is malformed.
    """
    folder = open_folder(uri)
    manifest = read_manifest(folder)
    arrays, problems = StoredArrays(folder, manifest), []
    for item in manifest.arrays:
        try:
            _ = arrays[item.table, item.column, item.part]
        except RequestError as error:
            problems.append(str(error))
            continue
        if (digest_of(folder.locate(item.file)) if folder.local else _remote(folder, item)) != item.sha256:
            problems.append(
                f"{folder.at(item.file)}: the bytes differ from the digest in {STORE}; restore it or build again"
            )
    return problems + verify_tasks(folder)


def _remote(folder: Folder, item: Stored) -> str:
    return "" if folder.read_checked(item.file, item.sha256) is None else item.sha256

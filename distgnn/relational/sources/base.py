"""Interface of database sources: tables as Arrow batches, and what the source declares about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import pyarrow as pa

from distgnn.relational.schema import Kind, Schema
from distgnn.storage.folder import Folder, storage_errors

BATCH_ROWS = 1 << 16


class Input(NamedTuple):
    """What a source is built from.

    Attributes:
        uri: Path or URI.
        encoding: Encoding of text files; "" = UTF-8.
    """

    uri: str
    encoding: str = ""


@dataclass(frozen=True)
class Declared:
    """What a source says about one table; all else is measured and proposed.

    Attributes:
        key: Primary key column; None if there is none, or several.
        foreign_keys: Parent table by column.
        kinds: Kinds of columns that the source states.
        time: Time column of the rows; None if there is none.
        notes: What cannot be kept, such as a composite key; one line each.
        keys: Whether the source declares keys: what it does not name then is no key.
        times: Whether the source declares time columns.
    """

    key: str | None = None
    foreign_keys: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    time: str | None = None
    notes: tuple[str, ...] = ()
    keys: bool = False
    times: bool = False


class Source(Protocol):
    """Reader of one database. Built as ``Class(Input)``; tables and rows keep the order of the source."""

    uri: str
    name: str

    @staticmethod
    def recognises(uri: str) -> bool:
        """Whether the input looks like one of this kind. It reads little, and raises nothing."""
        ...

    def tables(self) -> tuple[str, ...]:
        """Names of the tables, in a fixed order."""
        ...

    def types(self, table: str) -> pa.Schema:
        """Names and Arrow types of the columns of a table."""
        ...

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """Iterate over the rows of a table, in a fixed order."""
        ...

    def declared(self, table: str) -> Declared:
        """What the source says about a table."""
        ...

    def schema(self) -> Schema | None:
        """The whole schema if the source has it; None if some of it has to be measured."""
        ...

    def fingerprint(self) -> list[Any]:
        """JSON values that change when the source changes, as far as is known without reading it."""
        ...


class SourceTask(NamedTuple):
    """A task of a source.

    Attributes:
        name: Its name.
        facts: Its entry of tasks.json.
        rows: Columns entity key, timestamp, label, split.
    """

    name: str
    facts: dict[str, Any]
    rows: pa.Table


@runtime_checkable
class HasTasks(Protocol):
    """A source with prediction tasks."""

    def tasks(self) -> Iterator[SourceTask | str]:
        """Iterate over the tasks; a text says why one is left out."""
        ...


@runtime_checkable
class Rejects(Protocol):
    """A source that leaves out rows it cannot read.

    Attributes:
        rejected: Number of such rows, and one of them, by table; complete once the table is read.
    """

    rejected: dict[str, tuple[int, str]]


@runtime_checkable
class Closes(Protocol):
    """A source that holds a connection."""

    def close(self) -> None:
        """End the connection."""
        ...


def stamp(folder: Folder, name: str) -> list[Any]:
    """Name, size and time of the last change of a file, for :meth:`Source.fingerprint`."""
    with storage_errors("look at", folder.at(name)):
        info = folder.filesystem.get_file_info(folder.locate(name))
    return [name, info.size, info.mtime_ns]


def plain_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that a column of a source is read as; None if it cannot be read (bytes, lists, structs)."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        return pa.float64()
    unread = pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    odd = pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind) or pa.types.is_interval(kind)
    return None if unread or odd else kind

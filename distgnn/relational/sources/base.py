"""Interface of database sources: tables as Arrow batches, and what the source declares about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from distgnn.relational.schema import Kind, Schema

BATCH_ROWS = 1 << 16


@dataclass(frozen=True)
class Declared:
    """What a source says about one table; all else is measured and proposed.

    Attributes:
        key: Primary key column; None if there is none, or several.
        foreign_keys: Parent table by column.
        kinds: Kinds of columns that the source states.
        time: Time column of the rows; None if the source does not say.
        notes: What cannot be kept, such as a composite key; one line each.
        keys: Whether the source declares keys at all: what it does not name then is no key.
    """

    key: str | None = None
    foreign_keys: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    time: str | None = None
    notes: tuple[str, ...] = ()
    keys: bool = False


class Source(Protocol):
    """Reader of one database. Built as ``Class(uri)``; tables keep the order of the source."""

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
        """The whole schema if the source has it; None if some of it has to be proposed."""
        ...

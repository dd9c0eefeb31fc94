"""Interface of corpus sources: a schema, parts that any machine can read, and provenance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from distgnn.corpus.account import Account
from distgnn.corpus.shard import Piece
from distgnn.graph.schema import Schema

SPLITS = {"train": 0, "valid": 1, "val": 1, "test": 2, "0": 0, "1": 1, "2": 2, "": None}
"""Values of a split column in text, in lower case."""


class Rejected(NamedTuple):
    """An input row that yielded no graph. All fields are text without tabs or newlines (see :func:`rejected`)."""

    file: str
    row: str
    reason: str
    text: str


def rejected(file: str, row: int, reason: str, text: str) -> Rejected:
    """Create a Rejected with text fields cleaned for a tab-separated file and truncated to 200 characters."""
    return Rejected(file, str(row), " ".join(reason.split())[:200], " ".join(text.split())[:200])


class Source(Protocol):
    """Reader of one kind of raw input. Instances are small and picklable; ``read`` is a pure function of the part."""

    @property
    def schema(self) -> Schema:
        """Schema of every graph; known before any part is read."""
        ...

    def parts(self) -> Iterator[Any]:
        """Iterate over the parts in a fixed order, lazily, so that memory does not grow with the input."""
        ...

    def total_parts(self) -> int | None:
        """Return the number of parts, or None if unknown in advance (for progress only)."""
        ...

    def read(self, part: Any) -> tuple[Piece | None, list[Rejected]]:
        """Return the graphs of a part (None if there are none) and the rows that yielded none."""
        ...

    def provenance(self) -> dict[str, Any]:
        """Return inputs and options as JSON; equal for equal builds (no absolute paths, no time)."""
        ...


@runtime_checkable
class Accounts(Protocol):
    """A source whose graphs are not rows of its input, such as ego networks of a table of edges."""

    def accounts(self) -> Sequence[tuple[Account, Sequence[Rejected]]]:
        """Return for each input file what became of its rows, and the rows that could not be read."""
        ...


@runtime_checkable
class CountsRows(Protocol):
    """A source that knows how many rows a part has. The build then checks that each row was stored or rejected."""

    def rows(self, part: Any) -> int:
        """Return the number of input rows of a part that the options select."""
        ...

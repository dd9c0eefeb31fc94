"""What every builder of corpora is: a schema, parts that can be read on any machine, and a record of where they came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from distgnn.corpus.shard import Piece
from distgnn.graph.schema import Schema


class Rejected(NamedTuple):
    """An input row that gave no graph. All fields are text without tabs or newlines (see :func:`rejected`)."""

    file: str
    row: str
    reason: str
    text: str


def rejected(file: str, row: int, reason: str, text: str) -> Rejected:
    """A Rejected with its text fields cleaned for a tab-separated file and cut to 200 characters."""
    return Rejected(file, str(row), " ".join(reason.split())[:200], " ".join(text.split())[:200])


class Source(Protocol):
    """One kind of raw input. Instances are small and can be sent to workers; ``read`` is a pure function of the part."""

    @property
    def schema(self) -> Schema:
        """Of every graph the source makes; known before any part is read."""
        ...

    def parts(self) -> Iterator[Any]:
        """Parts in a fixed order, made lazily so that memory does not grow with the input."""
        ...

    def total_parts(self) -> int | None:
        """How many parts there are, or None where that is not known beforehand (progress only)."""
        ...

    def read(self, part: Any) -> tuple[Piece | None, list[Rejected]]:
        """Graphs of one part (None where there are none) and the rows that gave none."""
        ...

    def provenance(self) -> dict[str, Any]:
        """Inputs and options as JSON: equal for equal builds (no absolute paths, no time)."""
        ...

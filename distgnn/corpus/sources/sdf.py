"""Records of SD files (.sdf): mol blocks and their data items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from distgnn.corpus.sources.files import text_lines

_RECORD = 1 << 20


class Record(NamedTuple):
    """A record.

    Attributes:
        line: Line at which it starts.
        block: The mol block.
        items: Data items by name; the first line of each.
        problem: Why it cannot be read; "" if it can.
    """

    line: int
    block: str
    items: dict[str, str]
    problem: str = ""


def sdf_records(uri: str, encoding: str) -> Iterator[Record]:
    """Iterate over the records of an SD file; records of more than a megabyte of text have a problem."""
    lines: list[str] = []
    start, size, number = 1, 0, 0
    for number, line in enumerate(text_lines(uri, encoding), 1):
        if line.startswith("$$$$"):
            yield _record(start, lines, size)
            lines, start, size = [], number + 1, 0
            continue
        size += len(line)
        if size <= _RECORD:
            lines.append(line.rstrip("\r\n"))
    if any(line.strip() for line in lines):
        yield _record(start, lines, size)


def _record(start: int, lines: list[str], size: int) -> Record:
    title = lines[0] if lines else ""
    if size > _RECORD:
        return Record(start, title, {}, f"a record of more than {_RECORD:,} characters")
    end = next((i for i, line in enumerate(lines) if line.startswith("M  END")), None)
    if end is None:
        return Record(start, title, {}, "no mol block ('M  END' is missing)")
    return Record(start, "\n".join(lines[: end + 1]) + "\n", _items(lines[end + 1 :]))


def _items(lines: list[str]) -> dict[str, str]:
    """Return the data items: "> <NAME>", then the value."""
    found: dict[str, str] = {}
    for head, value in zip(lines, [*lines[1:], ""], strict=False):
        if head.startswith(">") and "<" in head:
            name = head[head.index("<") + 1 :].rpartition(">")[0]
            found.setdefault(name, value.strip())
    return found

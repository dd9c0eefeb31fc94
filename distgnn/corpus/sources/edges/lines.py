"""Text files as blocks of numbered lines: UTF-8, UTF-16 or another encoding, any line ends, bounded memory."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute

from distgnn.corpus.sources.files import input_errors, open_binary, packing
from distgnn.errors import RequestError
from distgnn.graph.ragged import Ints

pc: Any = _compute  # its functions are made at run time
BLOCK_BYTES = 1 << 24
LONGEST_LINE = 1 << 24
_HEAD_BYTES = 1 << 16
_ENCODINGS = {"utf-8": "utf-8-sig"}


class Lines(NamedTuple):
    """Consecutive lines of a file.

    Attributes:
        text: string [L], each line with its line end, if it has one.
        number: int64 [L], line numbers from 1.
    """

    text: pa.StringArray
    number: Ints

    def select(self, keep: npt.NDArray[np.bool_]) -> Lines:
        """Return the lines where ``keep`` is true."""
        return self if keep.all() else Lines(self.text.filter(pa.array(keep)), self.number[keep])


def line_blocks(uri: str, encoding: str = "utf-8") -> Iterator[Lines]:
    """Read a text file block by block. Line ends become "\\n"; a byte order mark is removed and names UTF-8 or UTF-16.

    Args:
        uri: the file.
        encoding: encoding of a file without a byte order mark.

    Raises:
        RequestError: the file is binary, not in this encoding, or has a line of more than 16 MiB.
    """
    number, rest = 1, ""
    for text in _decoded(uri, encoding):
        rest += text
        end = rest.rfind("\n") + 1
        if "\0" in text:
            where = number + rest[: rest.index("\0")].count("\n")
            raise RequestError(f"{uri}, line {where}: a NUL byte; the file is not text, or in another encoding")
        if end:
            lines = _lines(rest[:end], number)
            yield lines
            number, rest = number + len(lines.number), rest[end:]
        if len(rest) > LONGEST_LINE:
            raise RequestError(
                f"{uri}, line {number}: longer than {LONGEST_LINE >> 20} MiB; this is not a table of edges"
            )
    if rest:
        yield _lines(rest, number)


def _decoded(uri: str, encoding: str, size: int = BLOCK_BYTES) -> Iterator[str]:
    with input_errors(uri), open_binary(uri, member=True) as file:
        chunk = file.read(4)
        name = (
            "utf-16" if chunk[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else _ENCODINGS.get(encoding, encoding)
        )
        decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(name)(), translate=True)
        place = 0
        while chunk:
            try:
                yield decoder.decode(chunk)
                place, chunk = place + len(chunk), file.read(size)
                if not chunk:
                    yield decoder.decode(b"", final=True)
            except UnicodeDecodeError as error:
                raise RequestError(
                    f"{uri}: not {name.removesuffix('-sig')} text near byte {place + error.start}"
                    f" ({error.reason}); give encoding, such as latin-1"
                ) from error


def _lines(text: str, first: int) -> Lines:
    data = text.encode()
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    offsets = np.concatenate([[0], ends, [len(data)] if len(data) and data[-1:] != b"\n" else []]).astype(np.int32)
    lines = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
    return Lines(lines, first + np.arange(len(lines)))


def read_head(uri: str, encoding: str = "utf-8") -> tuple[bytes, list[str]]:
    """Return the first bytes of a file, and its first complete lines without line ends (none if it is Parquet).

    Raises:
        RequestError: the file is compressed but not named so, or not text.
    """
    with input_errors(uri), open_binary(uri, member=True) as file:
        start = file.read(8)
    extension, _ = packing(start)
    if extension == ".parquet":
        return start, []
    if extension:
        raise RequestError(f"{uri}: holds {extension} data but is not named so; rename it to *{extension}")
    text, more = "", False
    for part in _decoded(uri, encoding, _HEAD_BYTES):
        if more := len(text) >= _HEAD_BYTES:
            break
        text += part
    lines = text.split("\n")
    return start, lines[:-1] if more and len(lines) > 1 else lines


def meaningful(lines: Lines, comment: str = "") -> Lines:
    """Return the lines that are not blank and do not begin with ``comment``."""
    blank = pc.equal(pc.ascii_trim_whitespace(lines.text), "").to_numpy(zero_copy_only=False)
    if not comment:
        return lines.select(~blank)
    return lines.select(~(blank | pc.starts_with(lines.text, comment).to_numpy(zero_copy_only=False)))

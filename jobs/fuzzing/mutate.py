"""Mutations of real files: of bytes, of JSON values, of rows of tables, of arrays, and of the file itself."""

from __future__ import annotations

import copy
import io
import json
import os
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ESCAPE = "\x1b]0;pwned\x07"
HOSTILE: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, -5, 2**31, 2**32, 2**63, 2**64, -(2**63), 10**12, 10**18, 10**30, 10**400,
    0.5, -0.0, 1e300, 1e308, float("nan"), float("inf"), float("-inf"), "", "x", "0", "NaN", "\ud800", ESCAPE, "\x00",
    "<script>alert(1)</script>", "a|b", "../../etc/passwd", "/dev/zero", "C:\\x", "s3://a/b", "é" * 50, "a" * 70_000,
    [], {}, [[]], {"": {}}, [1], ["x"], [None], [0] * 3000, {"a": 1},
)  # fmt: skip
TOKENS = (
    b"", b"NA", b"nan", b"inf", b"-1", b"1e5", b"1e400", b"9" * 400, b"\x00", b"\xff\xfe", b'"', b"'", b"#", b",", b"\t", b";",
    b"\x1b[31m", b"100000000", b"2147483648", b"18446744073709551616", b"C" * 3000, b"[" * 2000, b"\r", b"\n\n", b"../x",
)  # fmt: skip
Change = Callable[[random.Random, bytes], bytes]


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of everything inside a JSON document."""
    keys = list(document) if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for key in keys:
        yield document, key
        yield from places(document[key])


def json_values(rng: random.Random, raw: bytes) -> bytes:
    """Replace, remove, add, copy or swap one to three values; sometimes the text is no longer the JSON of a dict."""
    try:
        document = json.loads(raw)
    except ValueError:
        return flipped(rng, raw)
    for _ in range(rng.randint(1, 3)):
        found = list(places(document))
        if not found:
            break
        _change_place(rng, document, *rng.choice(found))
    text = json.dumps(document)
    kind = rng.randrange(20)
    if kind == 0:
        return b"[" * rng.choice([70, 2000, 100_000]) + text.encode()
    if kind == 1 and text.startswith("{"):
        return (text[:-1] + ", " + text[1:]).encode()  # every key twice
    return json.dumps(rng.choice(HOSTILE)).encode() if kind == 2 else text.encode()


def _change_place(rng: random.Random, document: Any, holder: Any, key: Any) -> None:
    action = rng.choice(["replace"] * 5 + ["remove", "add", "copy", "more", "swap"])
    if action == "replace":
        holder[key] = copy.deepcopy(rng.choice(HOSTILE))
    elif action == "remove":
        del holder[key]
    elif action == "more" and isinstance(holder[key], int | float):
        holder[key] = holder[key] + rng.choice([1, -1, 0.5, 1000])
    elif action == "swap":
        other, place = rng.choice(list(places(document)))
        holder[key], other[place] = copy.deepcopy(other[place]), copy.deepcopy(holder[key])
    elif isinstance(holder, dict):
        holder[rng.choice(["x", "", ESCAPE, "imports", "version", "__class__"])] = copy.deepcopy(rng.choice(HOSTILE))
    else:
        holder.append(copy.deepcopy(holder[key]))


def json_lines(rng: random.Random, raw: bytes) -> bytes:
    """Mutate one line of JSON lines."""
    lines = raw.splitlines() or [b"{}"]
    at = rng.randrange(len(lines))
    lines[at] = json_values(rng, lines[at])
    return b"\n".join(lines) + b"\n"


def flipped(rng: random.Random, raw: bytes) -> bytes:
    """Flip, replace, insert, cut or repeat bytes."""
    made = bytearray(raw)
    for _ in range(rng.choice([1, 1, 2, 4, 8])):
        at = rng.randrange(len(made) + 1) if rng.random() < 0.6 else max(0, len(made) - rng.randrange(400))
        action = rng.randrange(6)
        if action == 0 and at < len(made):
            made[at] ^= 1 << rng.randrange(8)
        elif action == 1:
            made[at : at + rng.randrange(20)] = rng.randbytes(rng.randrange(20))
        elif action == 2:
            made[at:at] = rng.choice(TOKENS)
        elif action == 3:
            made[at : at + rng.choice([1, 8, 100])] = b"\x00" * rng.choice([1, 8, 100])
        elif action == 4:
            del made[at:]
        else:
            made[at:at] = made[at : at + rng.randrange(200)]
    return bytes(made)


def rows(rng: random.Random, raw: bytes) -> bytes:
    """Damage rows of a table: cells replaced, dropped, added or swapped; rows repeated; other line ends and encodings."""
    separator = max((b",", b"\t", b";", b" "), key=raw.count)
    lines = [line.split(separator) for line in raw.splitlines()] or [[b""]]
    for _ in range(rng.randint(1, 4)):
        cells = rng.choice(lines)
        at, action = rng.randrange(len(cells) or 1), rng.randrange(7)
        if not cells or action == 0:
            cells.append(rng.choice(TOKENS))
        elif action in (1, 2):
            cells[at] = rng.choice(TOKENS)
        elif action == 3:
            del cells[at]
        elif action == 4:
            cells[at] = flipped(rng, cells[at])
        elif action == 5:
            lines.insert(rng.randrange(len(lines)), list(cells))
        else:
            rng.shuffle(cells)
    text = rng.choice([b"\n", b"\n", b"\n", b"\r\n", b"\r"]).join(separator.join(cells) for cells in lines)
    prefix = rng.choice([b"", b"", b"", b"\xef\xbb\xbf", b"#", b"\n"])
    return prefix + text if rng.random() < 0.95 else text.decode("latin-1").encode("utf-16")


def safetensors_header(rng: random.Random, raw: bytes) -> bytes:
    """Mutate the JSON header of a safetensors file."""
    if len(raw) < 8:
        return raw
    size = struct.unpack("<Q", raw[:8])[0]
    header = json_values(rng, raw[8 : 8 + size])
    told = len(header) if rng.random() < 0.9 else rng.choice([0, 2**40, 2**63])
    return struct.pack("<Q", told) + header + raw[8 + size :]


def npy_header(rng: random.Random, raw: bytes) -> bytes:
    """Replace a number, the order or the type in the header of an .npy file, keeping the header's length."""
    end = 10 + int.from_bytes(raw[8:10], "little")
    header = raw[10:end]
    old = rng.choice([b"'shape': (", b"<f4", b"<i8", b"False", b"(", b"}"])
    new = rng.choice([b"'shape': (9999999999, ", b"'shape': (-1, ", b"<f8", b"|O", b"True", b"((", b"", b"<U9"])
    return raw[:10] + header.replace(old, new, 1)[: len(header)].ljust(len(header)) + raw[end:]


def npz_arrays(rng: random.Random, raw: bytes) -> bytes:
    """Replace an array of an .npz file by one of another type, shape, size or range; or damage the archive."""
    try:
        data = dict(np.load(io.BytesIO(raw), allow_pickle=False))
    except (ValueError, OSError, zipfile.BadZipFile):
        return flipped(rng, raw)
    name = rng.choice(sorted(data))
    array = data[name]
    made: list[Callable[[], Any]] = [
        lambda: array.astype(float), lambda: np.full(array.shape, np.nan), lambda: np.array(5), lambda: array[None],
        lambda: array[:0], lambda: array.astype(str), lambda: -array, lambda: array * 10**9, lambda: np.zeros((3, 2), int),
        lambda: array.astype(bool), lambda: array.astype(complex), lambda: np.array([2**63], np.uint64),
        lambda: np.repeat(array, 2, axis=0), lambda: array[::-1], lambda: np.zeros(10**6), lambda: np.array([10**12, 10**12]),
    ]  # fmt: skip
    try:
        data[name] = rng.choice(made)()
    except (TypeError, ValueError, IndexError):
        del data[name]
    sink = io.BytesIO()
    (np.savez_compressed if rng.random() < 0.5 else np.savez)(sink, **data)
    return sink.getvalue() if rng.random() < 0.9 else flipped(rng, sink.getvalue())


def changed(rng: random.Random, path: Path) -> bytes:
    """Return other contents for the file at ``path``, by a mutation that suits its name."""
    raw, suffix = path.read_bytes(), path.suffix
    fitting: dict[str, Change] = {
        ".json": json_values, ".jsonl": json_lines, ".safetensors": safetensors_header, ".npy": npy_header, ".npz": npz_arrays,
        ".csv": rows, ".tsv": rows, ".txt": rows,
    }  # fmt: skip
    share = 0.85 if suffix in (".json", ".jsonl", ".npz") else 0.6
    return fitting.get(suffix, flipped)(rng, raw) if rng.random() < share else flipped(rng, raw)


def replaced(rng: random.Random, path: Path, others: list[Path]) -> None:
    """Replace the file itself: by nothing, an empty file, another file of the seed, a folder, a FIFO or a link to a device."""
    action = rng.choice(["gone", "empty", "other", "other", "folder", "fifo", "device", "dangling"])
    other = rng.choice(others).read_bytes()
    path.unlink()
    if action == "empty":
        path.touch()
    elif action == "other":
        path.write_bytes(other)
    elif action == "folder":
        path.mkdir()
    elif action == "fifo":
        os.mkfifo(path)
    elif action in ("device", "dangling"):
        path.symlink_to("/dev/zero" if action == "device" else "/nowhere/at/all")

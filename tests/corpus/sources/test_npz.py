"""NumPy files: sizes are compared before memory is taken, whatever the zip's directory or an array's header declares."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from distgnn.corpus.sources import files
from distgnn.corpus.sources.npz import load_npy, load_npz
from distgnn.corpus.sources.tudataset_tables import contents
from distgnn.errors import RequestError

LIMIT = 1 << 20
BOMB = 64 << 20
"""Bytes of an array that packs to 64 kB."""


@pytest.fixture(autouse=True)
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_UNPACKED_BYTES", LIMIT)
    monkeypatch.setattr(files, "_UNPACKED_TIMES", 4)


@contextmanager
def refused(match: str) -> Iterator[None]:
    """The block is refused, and takes at most eight times the limit."""
    tracemalloc.start()
    try:
        with pytest.raises(RequestError, match=match) as told:
            yield
        assert tracemalloc.get_traced_memory()[1] < 8 * LIMIT
    finally:
        tracemalloc.stop()
    assert "\n" not in str(told.value)


def npy(values: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, values)
    return sink.getvalue()


def archive(path: Path, data: bytes, name: str = "a.npy", method: int = zipfile.ZIP_DEFLATED) -> str:
    with zipfile.ZipFile(path, "w", method) as made:
        made.writestr(name, data)
    return str(path)


def lying(path: Path, packed: int | None = None, unpacked: int | None = None) -> None:
    """Change the sizes in the directory of a zip of one file."""
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02") + 20
    told = struct.unpack_from("<II", raw, at)
    struct.pack_into("<II", raw, at, packed or told[0], unpacked or told[1])
    path.write_bytes(raw)


def test_a_bomb_that_says_so(tmp_path: Path) -> None:
    bomb = archive(tmp_path / "x.npz", npy(np.zeros(BOMB, np.uint8)))
    assert Path(bomb).stat().st_size < LIMIT / 10
    with refused("x.npz: unpacks to more than 1,048,576 bytes"):
        load_npz(bomb, ["a"])


def test_a_directory_that_declares_a_large_packed_size(tmp_path: Path) -> None:
    bomb = tmp_path / "x.npz"
    archive(bomb, npy(np.zeros(BOMB, np.uint8)))
    lying(bomb, packed=BOMB)
    with refused("x.npz: unpacks to more than"):
        load_npz(str(bomb), ["a"])


def test_a_directory_that_declares_a_small_size(tmp_path: Path) -> None:
    bomb = tmp_path / "x.npz"
    archive(bomb, npy(np.zeros(BOMB, np.uint8)))
    lying(bomb, unpacked=1000)
    with refused("x.npz: damaged"):
        load_npz(str(bomb), ["a"])


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_zipfile_unpacks_without_a_bound(tmp_path: Path, method: int) -> None:
    bomb = tmp_path / "x.npz"
    archive(bomb, npy(np.zeros(BOMB, np.uint8)), method=method)
    lying(bomb, unpacked=1000)
    with refused(r"x.npz, a.npy: encrypted, or not packed by deflate; unpack it yourself"):
        load_npz(str(bomb), ["a"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((b"(8,), ", b"(99999999999,), "), "799,999,999,992 bytes of float64"),
        ((b"'<f8'", b"'<U0'"), ""),
    ],
)
def test_headers_that_declare_more_than_there_is(tmp_path: Path, old: tuple[bytes, bytes], new: str) -> None:
    raw = npy(np.zeros(8))
    head = raw[10:128].replace(*old).replace(b"(8,)", b"(99999999999,)")
    raw = raw[:10] + head.strip().ljust(117) + b"\n" + raw[128:]
    with refused(rf"x.npz, a: not a plain array \(the header declares .*{new}.*, the file holds 64\)"):
        load_npz(archive(tmp_path / "x.npz", raw), ["a"])
    (tmp_path / "y.npy").write_bytes(raw)
    with refused(r"y.npy: not a plain .npy array \(the header declares .*, the file holds 64\)"):
        load_npy(str(tmp_path / "y.npy"))


def test_what_is_no_array(tmp_path: Path) -> None:
    with refused(r"x.npz, a: not a plain array \(the magic string is not correct"):
        load_npz(archive(tmp_path / "x.npz", b"a text, not an array"), ["a"])
    (tmp_path / "y.npz").write_bytes(npy(np.zeros(3)))
    with refused("y.npz: holds a single array; an .npz with a is needed"):
        load_npz(str(tmp_path / "y.npz"), ["a"])
    with refused("x.npz: the array 'b' is missing; found a"):
        load_npz(str(tmp_path / "x.npz"), ["b"])


def test_a_bomb_as_tudataset(tmp_path: Path) -> None:
    bomb = tmp_path / "TU.zip"
    archive(bomb, b"1, 2\n" * (BOMB // 5), "TU_A.txt")
    lying(bomb, packed=BOMB)
    with refused(r"TU.zip: unpacks to more than"):
        contents(str(bomb))


def test_whole_files_are_read(tmp_path: Path) -> None:
    values = {
        "a": np.arange(6).reshape(2, 3),
        "b": np.array("x"),
        "c": np.asfortranarray(np.eye(3)),
        "d": np.zeros((0, 4)),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **values)
        found = load_npz(str(tmp_path / "x.npz"), list(values), ["e"])
        assert list(found) == list(values)
        for name, array in found.items():
            np.testing.assert_array_equal(array, values[name])
            assert array.flags.writeable
            assert array.dtype == values[name].dtype

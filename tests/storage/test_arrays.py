"""Arrays and JSON values in one file: round trip, and damaged files that count as missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from distgnn.storage.arrays import read_arrays, write_arrays
from distgnn.storage.folder import open_folder
from distgnn.storage.records import Count


@dataclass(frozen=True)
class Told:
    count: Count


ARRAYS = {"a": np.arange(6, dtype=np.int64).reshape(2, 3).T, "empty": np.zeros((0, 2), np.float32)}


def test_round_trip(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    assert read_arrays(folder, "x", Told) is None
    write_arrays(folder, "x", {"count": 3}, ARRAYS)
    found = read_arrays(folder, "x", Told)
    assert found is not None
    assert found[0] == Told(3)
    assert found[1].keys() == ARRAYS.keys()
    for name, array in found[1].items():
        assert array.dtype == ARRAYS[name].dtype
        np.testing.assert_array_equal(array, ARRAYS[name])


@pytest.mark.parametrize("raw", [
    b"",
    b"\xff" * 20,
    safetensors.numpy.save(ARRAYS),  # without JSON
    safetensors.numpy.save({"outcome": np.frombuffer(b"{", np.uint8)}),
    safetensors.numpy.save({"outcome": np.frombuffer(b'{"count": -1}', np.uint8)}),
    safetensors.numpy.save({"outcome": np.frombuffer(b'{"count": "1"}', np.uint8)}),
])  # fmt: skip
def test_damaged_files_count_as_missing(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x").write_bytes(raw)
    assert read_arrays(open_folder(str(tmp_path)), "x", Told) is None

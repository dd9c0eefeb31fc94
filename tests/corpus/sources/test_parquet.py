"""Parquet files of others that unpack to far more than their size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distgnn.corpus.sources.files import open_binary
from distgnn.corpus.sources.parquet import ParquetColumns
from distgnn.errors import RequestError

LONG = "C" * (1 << 20)


def columns_of(path: Path, table: dict[str, Any], **options: Any) -> ParquetColumns:
    pq.write_table(pa.table(table), path, compression="zstd", **options)
    return ParquetColumns(str(path), open_binary(str(path)))


def test_batches_have_the_values(tmp_path: Path) -> None:
    table = {"a": ["x", None, "x"], "n": [1, 2, 3], "other": [0.5, 0.5, 0.5]}
    file = columns_of(tmp_path / "t.parquet", table)
    batches = list(file.batches(["n", "a"], 2))
    assert [batch.column("a").to_pylist() for batch in batches] == [["x", None], ["x"]]
    assert [batch.column("n").to_pylist() for batch in batches] == [[1, 2], [3]]
    assert file.names == ["a", "n", "other"]
    assert file.kind("a") == pa.string()


@pytest.mark.parametrize("dictionary", [True, False])
def test_a_file_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path: Path, dictionary: bool) -> None:
    file = columns_of(tmp_path / "t.parquet", {"a": [LONG] * 300, "n": range(300)}, use_dictionary=dictionary)
    assert (tmp_path / "t.parquet").stat().st_size < 1 << 20
    before = pa.total_allocated_bytes()
    with pytest.raises(RequestError, match=r"t.parquet: unpacks to more than 268,435,456 bytes at once; write smaller"):
        next(file.batches(["a"], 2048))
    assert pa.total_allocated_bytes() - before < 64 << 20
    assert next(file.batches(["n"], 2048)).num_rows == 300

"""CorpusReader: limit of open shards, retry of damaged remote units, and limits on metadata."""

from __future__ import annotations

import pickle
import weakref
from pathlib import Path
from shutil import copytree

import pyarrow.parquet as pq
import pytest
from pyarrow import fs as pafs

from distgnn.corpus import reader as module
from distgnn.corpus.reader import CorpusReader
from distgnn.errors import RequestError
from distgnn.storage.folder import Folder
from distgnn.storage.retry import errors_by_kind
from tests.helpers.corpora import motifs


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 graphs in 3 units and shards."""
    folder = tmp_path_factory.mktemp("corpus")
    motifs(folder, graphs=12, unit_rows=4, shard_rows=4)
    return folder


def test_open_shards_are_limited(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OPEN_SHARDS", 2)
    reader = CorpusReader(str(corpus))
    first = reader._shard(0)
    assert reader._shard(0) is first
    reader.unit(1)
    assert list(reader._shards) == [0, 1]
    kept = weakref.ref(first)
    del first
    assert kept() is not None
    reader.unit(2)
    assert list(reader._shards) == [1, 2]
    assert kept() is None  # and so its file is closed
    assert reader.unit(0).graph_id.tolist() == [0, 1, 2, 3]
    other = pickle.loads(pickle.dumps(reader))
    assert other._shards == {}
    assert other.unit(2).graph_id.tolist() == [8, 9, 10, 11]


def test_selected_columns(corpus: Path) -> None:
    assert CorpusReader(str(corpus)).unit(0).y is None
    reader = CorpusReader(str(corpus), labels=True)
    y = reader.unit(1).y
    assert y is not None
    assert y.shape == (4, 5)
    assert reader.labels()[4:8].tolist() == y.tolist()
    assert reader.column("group").shape == (12,)
    assert reader.table(2, ["graph_id"]).to_pydict() == {"graph_id": [8, 9, 10, 11]}
    assert reader.where(1) == f"{corpus}/shard-00001.parquet, unit 0"


@pytest.mark.parametrize("remote", [False, True])
def test_damaged_remote_unit_is_fetched_again(corpus: Path, monkeypatch: pytest.MonkeyPatch, remote: bool) -> None:
    reader, path = CorpusReader(str(corpus)), corpus / "shard-00001.parquet"
    if remote:
        store = pafs.SubTreeFileSystem(str(corpus.parent), pafs.LocalFileSystem())
        reader.folder = Folder(store, corpus.name, "s3://bucket/x")
    whole, chunk = path.read_bytes(), pq.ParquetFile(path).metadata.row_group(0).column(2)
    damaged, before = bytearray(whole), errors_by_kind().get("damaged", 0)
    damaged[chunk.data_page_offset + chunk.total_compressed_size - 3] ^= 0xFF
    path.write_bytes(damaged)
    opened, open_ = [], CorpusReader._open

    def opening(reader: CorpusReader, number: int) -> pq.ParquetFile:
        opened.append(number)
        if len(opened) == 2:
            path.write_bytes(whole)
        return open_(reader, number)

    monkeypatch.setattr(CorpusReader, "_open", opening)
    try:
        if remote:
            assert reader.unit(1).graph_id.tolist() == [4, 5, 6, 7]
        else:
            with pytest.raises(
                RequestError, match=r"shard-00001.parquet, unit 0: wrong checksum, the bytes are damaged"
            ):
                reader.unit(1)
    finally:
        path.write_bytes(whole)
    assert opened == [1, 1][: 1 + remote]
    assert errors_by_kind().get("damaged", 0) == before + remote


def test_invalid_parquet_is_refused(corpus: Path, tmp_path: Path) -> None:
    folder = Path(copytree(corpus, tmp_path / "c"))
    path = folder / "shard-00002.parquet"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(RequestError, match=r"shard-00002.parquet: not readable as Parquet \(.*\); restore the shard"):
        CorpusReader(str(folder)).unit(2)


def test_more_values_than_bytes_allow(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = pq.ParquetFile(corpus / "shard-00000.parquet").metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    values, size = sum(c.num_values for c in columns), sum(c.total_compressed_size for c in columns)
    for least, per_byte in ((values, 0), (0, values / size)):
        monkeypatch.setattr(module, "_MIN_VALUES", least)
        monkeypatch.setattr(module, "_VALUES_PER_BYTE", per_byte)
        CorpusReader(str(corpus)).check_first()
    monkeypatch.setattr(module, "_VALUES_PER_BYTE", values / size / 2)
    with pytest.raises(RequestError, match=rf"shard-00000.parquet, unit 0: {values} values cannot be in {size} bytes"):
        CorpusReader(str(corpus)).check_first()
    with pytest.raises(RequestError, match=r"shard-00001.parquet, unit 0: \d+ values cannot be"):
        CorpusReader(str(corpus)).check_shard(1)

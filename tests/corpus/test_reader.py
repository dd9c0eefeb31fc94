"""CorpusReader: limit of open shards, retry of damaged remote units, and limits on metadata."""

from __future__ import annotations

import io
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs as pafs

from distgnn.corpus import footers
from distgnn.corpus import reader as module
from distgnn.corpus.footers import Footer, Footers
from distgnn.corpus.reader import CorpusReader
from distgnn.errors import RequestError, WorkError
from distgnn.storage.folder import Folder
from distgnn.storage.retry import errors_by_kind
from distgnn.storage.s3 import S3Files
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
    assert list(reader._open_shards.files) == [0, 1]
    kept = weakref.ref(first)
    del first
    assert kept() is not None
    reader.unit(2)
    assert list(reader._open_shards.files) == [1, 2]
    assert kept() is None  # and so its file is closed
    assert reader.unit(0).graph_id.tolist() == [0, 1, 2, 3]
    other = pickle.loads(pickle.dumps(reader))
    assert other._open_shards.files == {}
    assert other.unit(2).graph_id.tolist() == [8, 9, 10, 11]


def _elsewhere(corpus: Path) -> Folder:
    """The same corpus, on a file system that is not this machine's."""
    store = pafs.SubTreeFileSystem(str(corpus.parent), pafs.LocalFileSystem())
    return Folder(store, corpus.name, "s3://bucket/x")


@pytest.mark.parametrize("remote", [False, True])
def test_kept_footers_are_limited_by_their_bytes(corpus: Path, monkeypatch: pytest.MonkeyPatch, remote: bool) -> None:
    whole = [pq.read_metadata(corpus / f"shard-0000{n}.parquet").serialized_size for n in range(3)]
    reader = CorpusReader(str(corpus))
    if remote:
        reader.folder = _elsewhere(corpus)
    monkeypatch.setattr(module, "_OPEN_SHARDS", 2)
    monkeypatch.setattr(footers, "_DECODED_BYTES", 10 * max(whole))  # one
    for unit in (0, 1, 0, 2, 0):
        reader.unit(unit)
    kept = reader._footers
    assert list(kept._packed) == [0, 1, 2]
    assert list(kept._decoded) == [2]
    assert list(reader._open_shards.files) == [2, 0]
    packed = {shard: len(footer.data) for shard, footer in kept._packed.items()}
    assert kept._packed_bytes == sum(packed.values()) < sum(whole)
    monkeypatch.setattr(footers, "_PACKED_BYTES", packed[1] + packed[2] + packed[0] - 1)
    assert reader.unit(1).graph_id.tolist() == [4, 5, 6, 7]  # decoded again
    reader._open_shards.files.clear()
    kept.drop(0)
    reader.unit(0)
    assert list(kept._packed) == [1, 0]
    monkeypatch.setattr(footers, "_PACKED_BYTES", 1)  # less than one
    assert reader.unit(2).graph_id.tolist() == [8, 9, 10, 11]
    assert list(kept._packed) == list(kept._decoded) == [2]
    assert (kept._packed_bytes, kept._decoded_bytes) == (packed[2], 10 * whole[2])


def test_a_kept_footer_is_that_of_the_file(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footers, "_DECODED_BYTES", 1)
    kept, whole = Footers(), [pq.read_metadata(corpus / f"shard-0000{number}.parquet") for number in range(2)]
    for shard, metadata in enumerate(whole):
        kept.keep(shard, Footer(metadata, f"version {shard}"))
    for shard in (0, 1, 0):
        found = kept.get(shard)
        assert found is not None
        assert found.version == f"version {shard}"
        assert found.metadata.equals(whole[shard])
        assert found.metadata.metadata == whole[shard].metadata
    assert kept.get(2) is None


def test_one_request_a_unit_in_the_second_epoch(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a corpus with more shards than a reader keeps open, or keeps decoded footers of."""
    motifs(s3, graphs=30_000, unit_rows=2500, shard_rows=5000)
    asked, do = [], S3Files._do
    monkeypatch.setattr(S3Files, "_do", lambda *words: (asked.append(words[1]), do(*words))[1])
    monkeypatch.setattr(footers, "_DECODED_BYTES", 10 * 3 * 3000)
    monkeypatch.setattr(module, "_OPEN_SHARDS", 1)
    reader = CorpusReader(s3)
    for epoch, requests in enumerate((6, 12)):
        asked.clear()
        for unit in (0, 2, 4, 6, 8, 10, *((1, 3, 5, 7, 9, 11) if epoch else ())):
            assert reader.unit(unit).graph_id.tolist() == list(range(2500 * unit, 2500 * unit + 2500))
        assert len(asked) == requests + 6 * (not epoch)  # the footers
    assert len(reader._footers._decoded) < len(reader._footers._packed) == 6
    other = pickle.loads(pickle.dumps(reader))
    asked.clear()
    assert other.unit(11).graph_id.tolist() == list(range(27_500, 30_000))
    assert len(asked) == 2  # a pickle has no footers


def test_a_shard_that_was_replaced_on_s3(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its footer and its open file are dropped, and the unit comes from the new one."""
    motifs(s3, graphs=10_000, unit_rows=2500, shard_rows=5000)
    monkeypatch.setattr(module, "_OPEN_SHARDS", 1)
    reader = CorpusReader(s3)
    reader.unit(0)
    reader.unit(2)
    name, before = reader.manifest.shards[0].name, errors_by_kind().get("damaged", 0)
    table = pq.read_table(pa.BufferReader(reader.folder.read(name)))
    with io.BytesIO() as file:
        pq.write_table(table, file, row_group_size=2500, compression="none", write_page_checksum=True)
        changed = file.getvalue()
    reader.folder.write(name, changed)
    entry = replace(reader.manifest.shards[0], bytes=len(changed))
    reader.manifest = replace(reader.manifest, shards=(entry, *reader.manifest.shards[1:]))
    assert reader.unit(1).graph_id.tolist() == list(range(2500, 5000))
    assert errors_by_kind()["damaged"] == before + 1


def test_requests_per_unit_on_s3(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    motifs(s3, graphs=20_000, unit_rows=2500, shard_rows=10_000)
    asked, do = [], S3Files._do
    monkeypatch.setattr(S3Files, "_do", lambda *words: (asked.append(words[1]), do(*words))[1])
    reader = CorpusReader(s3)
    asked.clear()
    for unit in (5, 0, 7, 6, 1):
        before = len(asked)
        assert reader.unit(unit).graph_id.tolist() == list(range(2500 * unit, 2500 * unit + 2500))
        assert len(asked) - before == (2 if unit in (5, 0) else 1)  # the footer of a shard, then its units
    assert set(asked) == {"read"}


def test_threads_read_the_same_units(corpus: Path) -> None:
    reader = CorpusReader(str(corpus))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda unit: reader.unit(unit).graph_id.tolist(), [0, 1, 2] * 20))
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]] * 20


def test_a_footer_longer_than_expected(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FOOTER_BYTES", 16)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 0)
    motifs(s3, graphs=12, unit_rows=4, shard_rows=12)
    assert CorpusReader(s3).unit(2).graph_id.tolist() == [8, 9, 10, 11]


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
        reader.folder = _elsewhere(corpus)
    whole, chunk = path.read_bytes(), pq.ParquetFile(path).metadata.row_group(0).column(2)
    damaged, before = bytearray(whole), errors_by_kind().get("damaged", 0)
    damaged[chunk.data_page_offset + chunk.total_compressed_size - 3] ^= 0xFF
    path.write_bytes(damaged)
    opened, open_ = list[int](), CorpusReader._open

    def opening(reader: CorpusReader, number: int) -> pq.ParquetFile:
        opened.append(number)
        assert number not in reader._footers
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


def test_other_read_errors_are_not_called_damage(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", failing)
    with pytest.raises(WorkError, match=r"cannot read .*shard-00000.parquet, unit 0: .*Input/output error"):
        CorpusReader(str(corpus)).unit(0)


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

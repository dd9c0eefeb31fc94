"""Corpus builds: reproducible bytes, unit sizes, resumption, and rejected input."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.config import BuildConfig
from distgnn.corpus.account import Account
from distgnn.corpus.inspect import verify
from distgnn.corpus.manifest import Manifest
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.shard import Piece
from distgnn.corpus.sources.base import Rejected, rejected
from distgnn.corpus.sources.motifs import MotifsConfig, MotifsSource
from distgnn.corpus.writer import STATE, build_corpus, chosen_unit_rows
from distgnn.errors import RequestError, WorkError
from distgnn.graph.ragged import packed
from distgnn.graph.schema import Feature, Schema
from distgnn.storage.folder import Folder
from tests.helpers.corpora import contents, motifs, two_processes


class Paths:
    """Parts of given sizes; every graph is a path of 2 nodes, every 7th row is rejected."""

    schema = Schema((Feature("a", "categorical", 9),), group="g")

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes

    def parts(self) -> Iterator[tuple[int, int]]:
        starts = np.cumsum([0, *self.sizes])
        return ((int(low), int(high)) for low, high in pairwise(starts))

    def total_parts(self) -> int:
        return len(self.sizes)

    def read(self, part: tuple[int, int]) -> tuple[Piece | None, list[Rejected]]:
        rows = np.arange(*part)
        bad = rows % 7 == 6
        refused = [rejected("f", int(row), "seventh", f"row\t{row}") for row in rows[bad]]
        ids = rows[~bad]
        if not len(ids):
            return None, refused
        ptr = np.arange(len(ids) + 1)
        edges = np.tile([[0], [1]], len(ids))
        graphs = packed(ids, ptr * 2, ptr, edges, node_cat=np.repeat(ids % 9, 2)[:, None])
        return Piece(graphs, group=[str(row) for row in ids]), refused

    def provenance(self) -> dict[str, Any]:
        return {"source": "paths", "sizes": self.sizes}


class Accounted(Paths):
    """Its rows come from a file with a row that could not be read."""

    def accounts(self) -> list[tuple[Account, list[Rejected]]]:
        return [(Account("g", "odd", 2, {"edges": 1}, rejected={"odd": 1}), [rejected("g", 2, "odd", "x")])]


def stopping(after: int) -> Callable[..., Iterator[Any]]:
    def mapper(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        yield from (function(item) for item in islice(items, after))
        raise KeyboardInterrupt

    return mapper


def test_builds_are_byte_identical_across_runs_and_processes(tmp_path: Path) -> None:
    source = MotifsSource(MotifsConfig(out="", graphs=9000))
    for name, mapper in (("one", map), ("again", map), ("two", two_processes)):
        build_corpus(source, str(tmp_path / name), unit_rows=64, shard_rows=640, mapper=mapper)
    assert contents(tmp_path / "one") == contents(tmp_path / "again") == contents(tmp_path / "two")


@settings(max_examples=12, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8), stop=st.integers(0, 8), unit=st.integers(1, 5))
def test_resumed_build_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], stop: int, unit: int
) -> None:
    folder = tmp_path_factory.mktemp("build")
    source, rows = Paths(sizes), {"unit_rows": unit, "shard_rows": unit * 4}
    whole = build_corpus(source, str(folder / "whole"), **rows)
    stopped = folder / "stopped"
    if stop < len(sizes):
        with pytest.raises(KeyboardInterrupt):
            build_corpus(source, str(stopped), mapper=stopping(stop), **rows)
        with pytest.raises(RequestError, match="no corpus here"):
            CorpusReader(str(stopped))
    build_corpus(source, str(stopped), **rows)
    assert contents(folder / "whole") == contents(stopped)
    check_units(whole, folder / "whole", sum(sizes))


def check_units(manifest: Manifest, folder: Path, rows: int) -> None:
    """Every unit but the last has exactly R rows; rows kept and rejected add up; ids come in order, each once."""
    groups = []
    for shard in manifest.shards:
        metadata = pq.ParquetFile(folder / shard.name).metadata
        groups += [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert groups[:-1] == [manifest.unit_rows] * (len(groups) - 1)
    assert 0 < groups[-1] <= manifest.unit_rows
    assert groups == [manifest.rows_of(unit) for unit in range(manifest.units)]
    ids = CorpusReader(str(folder)).load().graph_id.numpy()
    assert ids.tolist() == [row for row in range(rows) if row % 7 != 6]
    listed = [
        line.split("\t") for path in sorted(folder.glob("rejected-*.tsv")) for line in path.read_text().splitlines()[1:]
    ]
    assert [int(line[1]) for line in listed] == [row for row in range(rows) if row % 7 == 6]
    assert manifest.rejected == len(listed)


def test_progress_counts_parts_and_graphs(tmp_path: Path) -> None:
    calls: list[tuple[int, int | None, int]] = []
    build_corpus(Paths([7, 14]), str(tmp_path), unit_rows=2, shard_rows=4, progress=lambda *call: calls.append(call))
    assert calls == [(1, 2, 6), (2, 2, 18)]


def test_existing_corpus_needs_overwrite(tmp_path: Path) -> None:
    motifs(tmp_path, graphs=100)
    with pytest.raises(RequestError, match="already exists; use overwrite or another out"):
        motifs(tmp_path, graphs=50)
    motifs(tmp_path, graphs=50, overwrite=True)
    assert verify(str(tmp_path)).graphs == 50
    assert len(list(tmp_path.glob("shard-*"))) == 1


def test_unfinished_build_with_other_options_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_corpus(Paths([40, 40]), str(tmp_path), unit_rows=2, shard_rows=4, mapper=stopping(1))
    with pytest.raises(RequestError, match="unfinished build with other inputs"):
        build_corpus(Paths([40, 41]), str(tmp_path), unit_rows=2, shard_rows=4)
    (tmp_path / "_build.json").write_text("{}")
    with pytest.raises(RequestError, match=r"_build.json: not a valid build state"):
        build_corpus(Paths([40, 41]), str(tmp_path), unit_rows=2, shard_rows=4)
    assert build_corpus(Paths([40, 41]), str(tmp_path), unit_rows=2, shard_rows=4, overwrite=True).graphs == 70


def test_input_without_usable_graphs_is_rejected(tmp_path: Path) -> None:
    source = Paths([1])
    source.read = lambda _: (None, [rejected("f", 1, "bad", "x")])  # type: ignore[method-assign]
    with pytest.raises(
        RequestError, match=r"no usable graph \(1 rows read, all rejected; .*rejected-00000.tsv lists the reasons"
    ):
        build_corpus(source, str(tmp_path))
    assert not (tmp_path / "corpus.json").exists()


@pytest.mark.parametrize(("changes", "message"), [
    ({"edges": [[0], [2]]}, "refers to a node outside the graph"),
    ({"edges": [[0], [0]]}, "joins a node to itself"),
    ({"edges": [[0, 1], [1, 0]]}, "stored twice"),
    ({"node_cat": [[0], [9]]}, "node category is outside"),
    ({"node_dense": [[0.0], [np.nan]]}, "nan is not a number"),
    ({"edge_dense": [[np.inf]]}, "inf is infinite"),
    ({"center": [2]}, "centre node is outside"),
])  # fmt: skip
def test_invalid_graphs_are_rejected(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    schema = Schema(
        (Feature("a", "categorical", 9), Feature("d", "dense", 1)), (Feature("e", "dense", 1),), center=True
    )
    values = {"edges": [[0], [1]], "node_cat": [[0], [1]], "node_dense": [[0.0]] * 2, "center": [1]} | changes
    edges = np.array(values.pop("edges"))
    values = {"edge_dense": np.zeros((edges.shape[1], 1))} | values
    arrays = {name: np.array(value) for name, value in values.items()}
    source = Paths([1])
    source.schema = schema
    source.read = lambda _: (
        Piece(packed([5], np.array([0, 2]), np.array([0, edges.shape[1]]), edges, **arrays)),
        [],
    )  # type: ignore[method-assign]
    with pytest.raises(RequestError, match=rf"graph 5.*: .*{message}"):
        build_corpus(source, str(tmp_path))
    assert contents(tmp_path) == {}


def test_graph_without_nodes_is_rejected(tmp_path: Path) -> None:
    source = Paths([1])
    empty = packed([3], np.array([0, 0]), np.array([0, 0]), np.zeros((2, 0)), node_cat=np.zeros((0, 1)))
    source.read = lambda _: (Piece(empty, group=["x"]), [])  # type: ignore[method-assign]
    with pytest.raises(RequestError, match="the graph has no nodes"):
        build_corpus(source, str(tmp_path))


def test_columns_of_the_schema_are_required(tmp_path: Path) -> None:
    source = Paths([1])
    source.schema = Schema(source.schema.node, labels=("t",))
    with pytest.raises(RequestError, match="the schema has 'y'"):
        build_corpus(source, str(tmp_path))


def test_target_that_is_a_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match=r"cannot write .*/file/sub/_lock.json"):
        motifs(tmp_path / "file" / "sub")


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writing any file beyond ``size`` bytes fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_manifest_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed before leaves no corpus that looks complete, and what it wrote is marked as ours from the start."""
    written: list[str] = []

    def noted(folder: Folder, name: str, data: bytes, write: Callable[..., None] = Folder.write) -> None:
        written.append(name)
        write(folder, name, data)

    monkeypatch.setattr(Folder, "write", noted)
    build_corpus(Accounted([9, 3]), str(tmp_path), unit_rows=2, shard_rows=8)
    names = [
        f"{kind}-0000{number}.{end}" for number in (0, 1) for kind, end in (("shard", "parquet"), ("rejected", "tsv"))
    ]
    assert written == [STATE, *names[:2], STATE, names[2], "rejected-inputs.tsv", "corpus.json"]
    assert sorted(contents(tmp_path)) == sorted(set(written) - {STATE})


def test_full_disk_leaves_no_complete_corpus(tmp_path: Path) -> None:
    motifs(tmp_path / "whole")
    sizes = sorted(path.stat().st_size for path in (tmp_path / "whole").iterdir())
    for limit in (sizes[0] // 2, sizes[-1] - 1):
        with pytest.raises(WorkError, match=r"^cannot write .*File too large$"), file_size_limit(limit):
            motifs(tmp_path / "full")
        assert not (tmp_path / "full" / "corpus.json").exists()
        assert not list((tmp_path / "full").glob("*tmp*"))
        with pytest.raises(RequestError, match="no corpus here"):
            CorpusReader(str(tmp_path / "full"))
    motifs(tmp_path / "full")
    assert contents(tmp_path / "full") == contents(tmp_path / "whole")


def test_work_error_names_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkError, match="No space left on device"):
        motifs(tmp_path)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("graphs", "options", "units", "rows"),
    [
        (640, {}, 20, 32),
        (300, {}, 38, 8),  # 300 // 20 = 15
        (5, {}, 5, 1),
        (2000, {"shard_rows": 1024}, 63, 32),  # the first shard decides
        (640, {"unit_rows": 512}, 2, 512),
    ],
)
def test_small_corpora_have_small_units(
    tmp_path: Path, graphs: int, options: dict[str, int], units: int, rows: int
) -> None:
    manifest = build_corpus(MotifsSource(MotifsConfig(out="", graphs=graphs)), str(tmp_path), **options)
    assert (manifest.units, manifest.unit_rows) == (units, rows)
    assert CorpusReader(str(tmp_path)).load().num_graphs == graphs


def test_units_of_large_corpora() -> None:
    assert [chosen_unit_rows(rows) for rows in (10_239, 10_240, 65_536)] == [256, 512, 512]


def test_a_continued_build_keeps_the_chosen_units(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_corpus(Paths([1024, 40]), str(tmp_path), shard_rows=512, mapper=stopping(1))
    continued = build_corpus(Paths([1024, 40]), str(tmp_path), shard_rows=512)
    assert continued == build_corpus(Paths([1024, 40]), str(tmp_path / "whole"), shard_rows=512)
    assert continued.unit_rows == 16


def test_how_a_corpus_was_made_is_written_before_its_manifest(tmp_path: Path) -> None:
    """So that a build that is killed between the two is continued, and says it then."""

    def killed(folder: Folder) -> None:
        assert folder.size("corpus.json") is None
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus(Paths([40]), str(tmp_path), describe=killed)
    build_corpus(Paths([40]), str(tmp_path), describe=lambda folder: folder.write("environment.json", b"{}"))
    assert (tmp_path / "environment.json").exists()


@pytest.mark.parametrize("bad", [{"unit_rows": -1}, {"shard_rows": 100}, {"workers": 0}, {"shard_rows": 0}])
def test_invalid_build_configs_are_rejected(bad: dict[str, int]) -> None:
    with pytest.raises(RequestError, match=next(iter(bad))):
        BuildConfig(out="x", **bad)


def test_reader_returns_the_built_graphs(tmp_path: Path) -> None:
    motifs(tmp_path, graphs=40)
    source = MotifsSource(MotifsConfig(out="", graphs=40))
    built = source.read((0, 40))[0]
    read = CorpusReader(str(tmp_path), labels=True).load()
    for name in ("graph_id", "node_ptr", "edge_ptr", "edges", "node_cat", "node_dense", "edge_cat", "edge_dense"):
        assert torch.equal(getattr(read, name), getattr(built.graphs, name)), name
    assert torch.equal(read.y, built.graphs.y)  # type: ignore[arg-type]
    assert CorpusReader(str(tmp_path)).load().y is None
    assert CorpusReader(str(tmp_path)).column("group").tolist() == list(built.group or [])

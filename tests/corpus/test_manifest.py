"""Corpus manifest: units and shards, consistency checks, limits, digest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distgnn.corpus.manifest import MANIFEST_BYTES, NAME, Manifest, Shard, read_manifest
from distgnn.errors import RequestError
from distgnn.graph.schema import Feature, Schema
from distgnn.storage.folder import open_folder


def shard(graphs: int, nodes: int = 0, edges: int = 0, size: int = 1000) -> Shard:
    return Shard("x.parquet", graphs, nodes, edges, size, "0" * 64)


def made(*shards: Shard, unit_rows: int = 4, shard_rows: int = 8, **options: Any) -> Manifest:
    graphs = sum(each.graphs for each in shards)
    return Manifest(
        **{"schema": Schema(), "graphs": graphs, **options}, unit_rows=unit_rows, shard_rows=shard_rows, shards=shards
    )


def checked(manifest: Manifest) -> Manifest:
    return Manifest.from_bytes(manifest.to_bytes(), "here")


def test_units() -> None:
    manifest = made(shard(8), shard(8), shard(5))
    assert checked(manifest) == manifest
    assert manifest.units == 6
    assert [manifest.locate(unit) for unit in range(6)] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert [manifest.rows_of(unit) for unit in range(6)] == [4, 4, 4, 4, 4, 1]
    assert made(shard(8)).units == 2


@pytest.mark.parametrize("bad", [
    made(shard(8), shard(8), graphs=15),
    made(shard(7), shard(8)),
    made(shard(8), shard(9)),
    made(shard(8), shard(0)),
    made(shard(6), unit_rows=4, shard_rows=6),
    made(graphs=5),
])  # fmt: skip
def test_inconsistent_sizes_are_refused(bad: Manifest) -> None:
    with pytest.raises(RequestError, match=r"^here: shard and unit sizes do not add up; rebuild the corpus"):
        checked(bad)


def test_a_corpus_without_graphs() -> None:
    with pytest.raises(RequestError, match=r"^here: the corpus holds no graphs; rebuild it"):
        checked(made())


def test_more_graphs_than_bytes_allow() -> None:
    assert checked(made(shard(640, size=10), shard_rows=640))
    with pytest.raises(RequestError, match=r"^here: 644 graphs cannot be in the 10 bytes of 'x.parquet'; rebuild"):
        checked(made(shard(644, size=10), shard_rows=644))


@pytest.mark.parametrize("kind", ["node", "edge"])
def test_oversized_vocabulary_is_refused(kind: Any) -> None:
    def of(size: int, rows: int, sort: Any = "categorical") -> Manifest:
        counts: dict[str, Any] = {f"{kind}s": rows}
        features: dict[str, Any] = {kind: (Feature("a", sort, size),)}
        return made(shard(4, **counts), shard(4, **counts), shard_rows=4, schema=Schema(**features))

    million = 1 << 20
    assert checked(of(million, 0))
    assert checked(of(million + 2, million // 2 + 1))
    assert checked(of(million, 0, "dense"))
    with pytest.raises(RequestError, match=rf"the {kind} feature 'a' has 1048577 categories for 0 {kind}s; rebuild"):
        checked(of(million + 1, 0))
    with pytest.raises(RequestError, match="has 1048579 categories for 1048578"):
        checked(of(million + 3, million // 2 + 1))


def test_digest_is_stable() -> None:
    manifest = made(shard(8))
    assert manifest.digest() == "29b2571885f4e2e14f9bd48c37c2ee3578fc1b55b6de5aa2fdf65a2fc9294442"  # as ever
    value = json.loads(manifest.to_bytes())
    assert list(value) == sorted(value)
    assert b"accounts" not in manifest.to_bytes()
    assert replace(manifest, rejected=1).digest() != manifest.digest()


def test_missing_manifest(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    with pytest.raises(
        RequestError, match=r"no corpus here .corpus.json is missing.; build one with 'distgnn corpus build'"
    ):
        read_manifest(folder)
    folder.write(NAME, made(shard(8)).to_bytes())
    assert read_manifest(folder).graphs == 8
    with pytest.raises(RequestError, match=r"not a corpus manifest .*; rebuild the corpus"):
        Manifest.from_bytes(b'{"version": 1}', "here")
    assert MANIFEST_BYTES == 1 << 28  # as much memory as a file may claim

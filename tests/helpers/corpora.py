"""Small corpora and inputs for tests."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from distgnn import register
from distgnn.config import BuildConfig
from distgnn.corpus.manifest import Manifest
from distgnn.corpus.sources.motifs import MotifsConfig
from distgnn.corpus.writer import Mapper, build_corpus

DATA = Path(os.environ.get("DISTGNN_DATA", Path(__file__).parents[3] / "shared" / "data"))


def real(*names: str) -> tuple[str, ...]:
    """Paths of real data; skips the test where one is absent."""
    paths = [DATA / name for name in names]
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        pytest.skip(f"real data absent (DISTGNN_DATA): {missing[0]}")
    return tuple(map(str, paths))


def build(kind: str, config: BuildConfig, mapper: Mapper = map) -> Manifest:
    """Build as the command does."""
    return build_corpus(
        register.corpus_source.get(kind).make(config),
        config.out,
        unit_rows=config.unit_rows,
        shard_rows=config.shard_rows,
        overwrite=config.overwrite,
        mapper=mapper,
    )


def motifs(out: Path | str, graphs: int = 300, **options: Any) -> Manifest:
    """A corpus of planted motifs in small units and shards."""
    return build("motifs", MotifsConfig(out=str(out), graphs=graphs, **({"unit_rows": 16, "shard_rows": 64} | options)))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def two_processes(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """An ordered map over two processes."""
    with ProcessPoolExecutor(2) as pool:
        yield from pool.map(function, items)


def edit_manifest(folder: Path, **changes: Any) -> None:
    """Change fields of corpus.json."""
    path = folder / "corpus.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def as_json(shards: Iterable[Any]) -> list[dict[str, Any]]:
    """Shards as the manifest stores them."""
    return [asdict(shard) for shard in shards]

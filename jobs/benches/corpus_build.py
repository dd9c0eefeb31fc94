"""Benchmark corpus_build: speed of building a corpus, and its size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .data import molecules
from .measure import Options, line


def bench_corpus_build(options: Options) -> Iterator[dict[str, Any]]:
    """Measure graphs per second, checksums included, and bytes per graph."""
    rows = 40_000 if options.quick else 160_000
    built = [build_once(rows) for _ in range(2 if options.quick else 3)]
    case = built[0][0]
    yield line("corpus_build", case, "from packed arrays, one process", "graphs/s", [rate for _, rate, _ in built])
    yield line("corpus_build", case, "all files of the corpus", "bytes/graph", [size for _, _, size in built])


def build_once(rows: int) -> tuple[str, float, float]:
    """Build a corpus once; return (case, graphs per second, bytes per graph)."""
    start = time.perf_counter()
    with molecules(rows) as (case, uri):
        seconds = time.perf_counter() - start
        size = sum(file.stat().st_size for file in Path(uri).rglob("*") if file.is_file())
    return case, rows / seconds, size / rows

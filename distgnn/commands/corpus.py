"""distgnn corpus build, verify, stat and cat."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from distgnn.commands.metrics import meters
from distgnn.commands.output import Output, load_function
from distgnn.config import BuildConfig
from distgnn.corpus import inspect
from distgnn.corpus.writer import build_corpus
from distgnn.errors import RequestError
from distgnn.monitor.sink import SILENT, Meter
from distgnn.options import CatOptions, CorpusUri
from distgnn.pretraining.metrics import StorageMeter

_SECONDS = 5.0


class BuildProgress:
    """Parts done, graphs, rate and time left: a live line on a terminal, a plain one every few seconds elsewhere."""

    def __init__(self, console: Console, meter: Meter = SILENT) -> None:
        self.console, self._meter, self._noted, self._storage = console, meter, 0, StorageMeter(meter)
        meter.note("distgnn_build_graphs_total", 0)
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._start = self._shown = time.monotonic()
        self._first: tuple[int, int] | None = None

    def __enter__(self) -> BuildProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, part: int, parts: int | None, graphs: int) -> None:
        """Called by build_corpus after each part."""
        if self._first is None:
            self._first = part, graphs
        self._meter.note("distgnn_build_graphs_total", graphs - self._noted)
        self._noted = graphs
        self._storage.note()
        now = time.monotonic()
        if self._live:
            self._live.update(Text(self._line(part, parts, graphs, now)), refresh=True)
        elif now - self._shown >= _SECONDS:
            self._shown = now
            self.console.print(self._line(part, parts, graphs, now), soft_wrap=True, markup=False)

    def _line(self, part: int, parts: int | None, graphs: int, now: float) -> str:
        first_part, first_graphs = self._first or (part, graphs)
        elapsed, done = max(now - self._start, 1e-9), part - first_part
        text = f"part {part}/{parts or '?'} | {graphs:,} graphs | {(graphs - first_graphs) / elapsed:,.0f} graphs/s"
        if parts and done:
            text += f" | {timedelta(seconds=round(elapsed / done * (parts - part)))} left"
        return text


def build(config: BuildConfig, source: type[Any], output: Output) -> int:
    """Build a corpus with the Source class of its kind."""
    mapper = map if config.workers == 1 else load_function("distgnn.scale.pool:ordered_map")(config.workers)
    start = time.monotonic()
    with (
        meters(config.metrics, config.out, config.workers > 1) as (here, _),
        BuildProgress(Console(stderr=True, highlight=False), here) as progress,
    ):
        manifest = build_corpus(
            source(config),
            config.out,
            unit_rows=config.unit_rows,
            shard_rows=config.shard_rows,
            overwrite=config.overwrite,
            mapper=mapper,
            progress=progress,
        )
    seconds, size = time.monotonic() - start, sum(shard.bytes for shard in manifest.shards)
    value = {
        "corpus": config.out,
        "graphs": manifest.graphs,
        "shards": len(manifest.shards),
        "rejected": manifest.rejected,
        "bytes_per_graph": size / manifest.graphs,
        "seconds": seconds,
        "digest": manifest.digest(),
    }
    rejected = f", {manifest.rejected:,} rows rejected (see rejected-*.tsv there)" if manifest.rejected else ""
    text = f"{config.out}: {manifest.graphs:,} graphs in {value['shards']} shards, {value['bytes_per_graph']:.0f} bytes a graph"
    output.emit(value, f"{text}{rejected}, {timedelta(seconds=round(seconds))}")
    return 0


def verify(options: CorpusUri, output: Output) -> int:
    """Check a corpus byte by byte; RequestError with the first problem, the others on stdout."""
    report = inspect.verify(options.uri)
    for problem in report.problems:
        output.emit({"problem": problem}, problem)
    if report.problems:
        raise RequestError(
            f"{options.uri}: {len(report.problems)} problems found; restore the shards or rebuild the corpus"
        )
    output.emit(
        {"corpus": options.uri, "graphs": report.graphs, "ok": True},
        f"{options.uri}: {report.graphs:,} graphs, all well",
    )
    return 0


def stat(options: CorpusUri, output: Output) -> int:
    """What a corpus holds."""
    facts = inspect.stat(options.uri)
    output.emit(facts, json.dumps(facts, indent=1))
    return 0


def cat(options: CatOptions, output: Output) -> int:
    """Graphs as JSON lines."""
    for graph in inspect.cat(options.uri, options.start, options.count):
        output.emit(graph, json.dumps(graph))
    return 0

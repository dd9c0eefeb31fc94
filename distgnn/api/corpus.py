"""Building and checking corpora: ``distgnn.build_corpus`` and ``distgnn.verify_corpus``."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from distgnn import register
from distgnn.api.arguments import build_config, import_named
from distgnn.api.metrics import open_sinks
from distgnn.api.output import write_config
from distgnn.config import BuildConfig
from distgnn.corpus.inspect import CorpusReport, verify
from distgnn.corpus.torch_dataset import Corpus
from distgnn.corpus.writer import build_corpus as write_shards
from distgnn.loading import load_function
from distgnn.monitor.sink import NULL_SINK, MetricsSink
from distgnn.pretraining.metrics import StorageMetrics
from distgnn.storage.uri import text_of
from distgnn.terminal import stderr_console

_SECONDS = 5.0


def build_corpus(source: str, config: BuildConfig | None = None, **options: Any) -> Corpus:
    """Build a corpus from raw files.

    Args:
        source: Name of a corpus source, such as ``"molecules"``, ``"ppi"`` or ``"motifs"``; see :mod:`distgnn.register`.
        config: Config of the source. Alternatively, its fields as keyword options.
        **options: Fields of the config, such as ``input``, ``out`` and ``labels``.

    Returns:
        The corpus that was written to ``out``.

    Raises:
        RequestError: The source is unknown, an option is wrong, an input file cannot be read, or a corpus exists at ``out``.
        WorkError: Storage failed.

    Example:
        >>> corpus = distgnn.build_corpus("molecules", input="bbbp.csv", labels="p_np", out="data/bbbp")
        >>> len(corpus), corpus[0]
    """
    import_named({"config": config, **options})
    entry = register.corpus_source.get(source, "source")
    chosen: BuildConfig = build_config(entry.config or BuildConfig, config, options)
    mapper = map if chosen.workers == 1 else load_function("distgnn.scale.pool:ordered_map")(chosen.workers)
    with (
        open_sinks(chosen.metrics, chosen.out, chosen.workers > 1) as (sink, _),
        BuildProgress(stderr_console(), sink) as progress,
    ):
        write_shards(
            entry.make(chosen),
            chosen.out,
            unit_rows=chosen.unit_rows,
            shard_rows=chosen.shard_rows,
            overwrite=chosen.overwrite,
            mapper=mapper,
            progress=progress,
            describe=lambda folder: write_config(folder, chosen, f"corpus build {source}"),
        )
    return Corpus(chosen.out)


def verify_corpus(uri: str | os.PathLike[str]) -> CorpusReport:
    """Check every byte of a corpus against the SHA-256 digests of its manifest, and decode every graph.

    Args:
        uri: Folder of the corpus.

    Returns:
        The problems, one line each; none if the corpus is intact.

    Raises:
        RequestError: There is no readable manifest.

    Example:
        >>> assert distgnn.verify_corpus("data/zinc").ok
    """
    return verify(text_of(uri))


class BuildProgress:
    """Parts done, graphs, rate and time left: a live line on a terminal, a plain one every few seconds elsewhere."""

    def __init__(self, console: Console, sink: MetricsSink = NULL_SINK) -> None:
        self.console, self._sink, self._noted, self._storage = console, sink, 0, StorageMetrics(sink)
        sink.note("distgnn_build_graphs_total", 0)
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
        self._sink.note("distgnn_build_graphs_total", graphs - self._noted)
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

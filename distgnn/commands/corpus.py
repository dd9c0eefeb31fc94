"""The commands ``distgnn corpus build``, ``verify``, ``stat`` and ``cat``."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from distgnn.api.corpus import build_corpus, verify_corpus
from distgnn.commands.output import Output
from distgnn.config import BuildConfig
from distgnn.corpus import inspect
from distgnn.errors import RequestError
from distgnn.options import CatOptions, CorpusUri

_SHOWN = 12


def build(config: BuildConfig, source: str, output: Output) -> int:
    """Build a corpus with the named source, and print its size."""
    start = time.monotonic()
    manifest = build_corpus(source, config).manifest
    seconds, size = time.monotonic() - start, sum(shard.bytes for shard in manifest.shards)
    value = {
        "corpus": config.out,
        "graphs": manifest.graphs,
        "shards": len(manifest.shards),
        "rows": manifest.graphs + manifest.rejected,
        "rejected": manifest.rejected,
        "bytes_per_graph": size / manifest.graphs,
        "seconds": seconds,
        "digest": manifest.digest(),
        "inputs": [asdict(account) for account in manifest.accounts],
    }
    unread = " (rejected rows: rejected-inputs.tsv there)" if any(item.rejected for item in manifest.accounts) else ""
    inputs = "".join(f"{account.line()}\n" for account in manifest.accounts)
    listed = " (see rejected-*.tsv there)" if manifest.rejected else ""
    rows = f"{value['rows']:,} rows read = {manifest.graphs:,} stored + {manifest.rejected:,} rejected{listed}"
    size = f"{manifest.graphs:,} graphs in {value['shards']} shards, {value['bytes_per_graph']:.0f} bytes a graph"
    names = manifest.schema.labels
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    labels = f", {len(names)} label(s): {shown}" if names else ""
    output.emit(value, f"{inputs}{config.out}: {size}, {timedelta(seconds=round(seconds))}; {rows}{unread}{labels}")
    return 0


def verify(options: CorpusUri, output: Output) -> int:
    """Verify every byte of a corpus and print the problems; raises RequestError with their number."""
    report = verify_corpus(options.uri)
    for problem in report.problems:
        output.emit({"problem": problem}, problem)
    if report.problems:
        raise RequestError(
            f"{options.uri}: {len(report.problems)} problems found; restore the shards or rebuild the corpus"
        )
    output.emit(
        {"corpus": options.uri, "graphs": report.graphs, "ok": True},
        f"{options.uri}: {report.graphs:,} graphs, no problems",
    )
    return 0


def stat(options: CorpusUri, output: Output) -> int:
    """Print statistics of a corpus."""
    facts = inspect.stat(options.uri)
    output.emit(facts, "\n".join(f"{name.replace('_', ' ')}: {_text(value)}" for name, value in facts.items()))
    return 0


def _text(value: Any) -> str:
    """Format a value of :func:`distgnn.corpus.inspect.stat` for people."""
    if isinstance(value, dict):
        feature = f"{value.get('name')} ({value.get('kind')}, {value.get('size')})"
        pairs = ", ".join(f"{name} {_text(item)}" for name, item in value.items())
        return feature if {"name", "kind", "size"} <= set(value) else pairs
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value) if value else "none"


def cat(options: CatOptions, output: Output) -> int:
    """Print graphs as JSON lines."""
    for graph in inspect.cat(options.uri, options.start, options.count):
        if not output.emit(graph, json.dumps(graph)):
            break
    return 0

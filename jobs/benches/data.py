"""Corpora for the benchmarks: real molecules and protein networks if DISTGNN_DATA has them, otherwise synthetic motif graphs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from distgnn import register
from distgnn.corpus.plan import Plan
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources.arrays import ArraysConfig
from distgnn.corpus.sources.motifs import MotifsConfig
from distgnn.corpus.sources.ppi import PpiConfig
from distgnn.corpus.stream import Prepare, assemble, local_units
from distgnn.corpus.writer import build_corpus
from distgnn.graph.batch import GraphBatch


def data_root() -> Path:
    """Return the folder of the real data."""
    return Path(os.environ.get("DISTGNN_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


@contextmanager
def molecules(rows: int) -> Iterator[tuple[str, str]]:
    """Context manager that yields (case name, URI) of a corpus of ``rows`` molecules, or of motif graphs without data."""
    arrays = sorted((data_root() / "molecules/arrays").glob("pretrain_*.npz"))
    with tempfile.TemporaryDirectory() as folder:
        if arrays:
            config: Any = ArraysConfig(input=tuple(map(str, arrays)), out=folder, limit=rows)
            kind, case = "arrays", "molecules"
        else:
            config, kind, case = MotifsConfig(out=folder, graphs=rows), "motifs", "motifs"
        build_corpus(register.corpus_source.get(kind).make(config), folder, unit_rows=512)
        yield case, folder


@contextmanager
def proteins() -> Iterator[tuple[str, str] | None]:
    """Context manager that yields (case name, URI) of a corpus of 8,000 protein ego networks of the fly; None without data."""
    network = data_root() / "ppi/biogrid/DMelanogaster-3.4.164.el.xz"
    if not network.exists():
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        build_corpus(
            register.corpus_source.get("ppi").make(PpiConfig(input=(str(network),), out=folder)), folder, unit_rows=512
        )
        yield "proteins", folder


def step_batches(uri: str, prepare: Prepare, count: int, streams: int = 4, per_stream: int = 16) -> list[GraphBatch]:
    """Return the first full batches of the training steps of a corpus.

    Args:
        uri: The corpus.
        prepare: Transform of the objective, which adds extras.
        count: Maximum number of batches.
        streams: Number of streams.
        per_stream: Graphs per stream in a batch.
    """
    reader = CorpusReader(uri, labels=True)
    plan = Plan(reader.manifest.graphs, reader.manifest.unit_rows, streams, per_stream)
    units = local_units(reader, plan, prepare, plan.reads(0, plan.steps_per_epoch, 0, 1))
    batches = (batch for _, batch in assemble(plan, 0, plan.steps_per_epoch, 0, 1, units))
    full = (batch for batch in batches if batch is not None and batch.num_graphs == streams * per_stream)
    return list(islice(full, count))

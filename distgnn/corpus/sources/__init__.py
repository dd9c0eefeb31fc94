"""Builders of corpora by name: how each is configured and the Source that reads its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distgnn.config import (
    ArraysConfig,
    BiblioConfig,
    BuildConfig,
    MoleculesConfig,
    MotifsConfig,
    PpiConfig,
    PygConfig,
    TuDatasetConfig,
)
from distgnn.corpus.sources.arrays import ArraysSource
from distgnn.corpus.sources.base import Source
from distgnn.corpus.sources.biblio import BiblioSource
from distgnn.corpus.sources.molecules import MoleculesSource
from distgnn.corpus.sources.motifs import MotifsSource
from distgnn.corpus.sources.ppi import PpiSource
from distgnn.corpus.sources.predblp import PreDblpSource
from distgnn.corpus.sources.tudataset import TuDatasetSource


def _biblio(config: BiblioConfig) -> Source:
    return PreDblpSource(config) if config.format == "predblp" else BiblioSource(config)


SOURCES: dict[str, tuple[type[BuildConfig], Callable[[Any], Source]]] = {
    "molecules": (MoleculesConfig, MoleculesSource),
    "ppi": (PpiConfig, PpiSource),
    "biblio": (BiblioConfig, _biblio),
    "tudataset": (TuDatasetConfig, TuDatasetSource),
    "pyg": (PygConfig, TuDatasetSource),  # deprecated alias
    "arrays": (ArraysConfig, ArraysSource),
    "motifs": (MotifsConfig, MotifsSource),
}

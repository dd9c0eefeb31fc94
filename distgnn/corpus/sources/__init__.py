"""Builders of corpora by name: how each is configured and the Source that reads its input."""

from __future__ import annotations

from typing import Any

from distgnn.config import ArraysConfig, BuildConfig, MoleculesConfig, PpiConfig
from distgnn.corpus.sources.arrays import ArraysSource
from distgnn.corpus.sources.molecules import MoleculesSource
from distgnn.corpus.sources.ppi import PpiSource

SOURCES: dict[str, tuple[type[BuildConfig], type[Any]]] = {
    "molecules": (MoleculesConfig, MoleculesSource),
    "ppi": (PpiConfig, PpiSource),
    "arrays": (ArraysConfig, ArraysSource),
}

"""Builders of networks by name: how each is configured and the function that reads its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distgnn.config import (
    CitationConfig,
    HeteroConfig,
    KgrecConfig,
    MadeConfig,
    NetworkBuildConfig,
    OagConfig,
    RedditConfig,
)
from distgnn.network.network import Network
from distgnn.network.sources.hetero import build_hetero
from distgnn.network.sources.kgrec import build_kgrec
from distgnn.network.sources.oag import build_oag
from distgnn.network.sources.single import build_citation, build_reddit
from distgnn.network.sources.synthetic import build_made

NETWORK_SOURCES: dict[str, tuple[type[NetworkBuildConfig], Callable[[Any], Network]]] = {
    "kgrec": (KgrecConfig, build_kgrec),
    "hetero": (HeteroConfig, build_hetero),
    "citation": (CitationConfig, build_citation),
    "reddit": (RedditConfig, build_reddit),
    "oag": (OagConfig, build_oag),
    "made": (MadeConfig, build_made),
}

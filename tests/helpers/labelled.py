"""A small labelled corpus whose labels can be learned from a node feature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from distgnn.corpus.shard import Piece
from distgnn.corpus.sources.base import Rejected
from distgnn.corpus.writer import build_corpus
from distgnn.graph.schema import Feature, Schema
from tests.helpers.graphs import random_graphs

FEATURES = Schema(node=(Feature("kind", "categorical", 3), Feature("value", "dense", 1)), edge=(), center=True)


@dataclass(frozen=True)
class OnePiece:
    """A Source of one part, given as a batch."""

    schema: Schema
    piece: Piece

    def parts(self) -> Iterator[int]:
        return iter([0])

    def total_parts(self) -> int:
        return 1

    def read(self, part: int) -> tuple[Piece, list[Rejected]]:  # noqa: ARG002
        return self.piece, []

    def provenance(self) -> dict[str, Any]:
        return {"source": "test"}


def signal(graphs: int, seed: int = 0) -> np.ndarray:
    """float [graphs]: what the node feature of each graph is centred on."""
    return np.random.default_rng(seed).normal(size=graphs)


def write_labelled(
    uri: str,
    y: np.ndarray,
    labels: tuple[str, ...],
    group: list[str | None] | None = None,
    split: list[int | None] | None = None,
    center: bool = True,
) -> Schema:
    """Write a corpus of len(y) graphs; graph g's dense node feature is signal(len(y))[g] plus noise. Returns its schema."""
    count = len(y)
    schema = replace(
        FEATURES, labels=labels, center=center, group="kind" if group else "", split=split is not None, max_nodes=8
    )
    graphs = random_graphs([4 + g % 4 for g in range(count)], FEATURES)
    centred = torch.from_numpy(signal(count)).float().repeat_interleave(graphs.node_ptr.diff())
    graphs = replace(
        graphs,
        node_dense=centred.unsqueeze(1) + 0.1 * graphs.node_dense,
        center=graphs.center if center else None,
        y=torch.tensor(y, dtype=torch.float32),
    )
    build_corpus(OnePiece(schema, Piece(graphs, group, split)), uri, unit_rows=64, shard_rows=64)
    return schema

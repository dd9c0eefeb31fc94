"""Synthetic graphs: random trees with planted motifs, for tests and demonstrations without data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distgnn import register
from distgnn.config import BuildConfig
from distgnn.config.base import check
from distgnn.config.fields import SEED, setting
from distgnn.corpus.shard import Piece
from distgnn.corpus.sources.base import Rejected
from distgnn.graph.keyed import below, draw, key, unit_interval
from distgnn.graph.ragged import Ints, packed, pointers, ranges
from distgnn.graph.schema import Feature, Schema

MOTIFS: dict[str, list[tuple[int, int]]] = {
    "square": [(0, 1), (1, 2), (2, 3), (3, 0)],
    "hexagon": [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)],
    "house": [(0, 1), (1, 2), (2, 3), (3, 0), (3, 4), (4, 0)],
    "clique": [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)],
    "wheel": [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (5, 0), (5, 1), (5, 2), (5, 3), (5, 4)],
}
_SIZES = np.array([1 + max(max(edge) for edge in edges) for edges in MOTIFS.values()])
_COLORS, _COPY = 8, 0.7
_SIZE, _PARENT, _PLANT, _PLACE, _COLOR, _SAME, _KNOWN = range(7)
_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class MotifsConfig(BuildConfig):
    """Made graphs: random trees in which motifs are planted, labelled with the motifs they hold. Needs no data.

    Example: distgnn corpus build motifs --graphs 10000 --out data/motifs
    """

    graphs: int = setting(10_000, most=1 << 40)
    """How many graphs."""
    nodes: tuple[int, ...] = setting((12, 30), most=65_536)
    """Fewest and most nodes of the tree, before motifs are planted."""
    plant: float = setting(0.3)
    """Probability of each motif to be planted in a graph."""
    labelled: float = setting(1.0)
    """Share of graphs whose labels are known."""
    seed: int = setting(0, most=SEED)
    """Key of everything that is drawn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.graphs >= 1, f"graphs must be at least 1, found {self.graphs}")
        good = len(self.nodes) == 2 and 2 <= self.nodes[0] <= self.nodes[-1] <= 10_000
        check(good, f"nodes must be two numbers with 2 <= fewest <= most <= 10000, found {self.nodes}")
        for name in ("plant", "labelled"):
            value = getattr(self, name)
            check(0 <= value <= 1, f"{name} must lie in [0, 1], found {value}")


@register.corpus_source("motifs", MotifsConfig)
class MotifsSource:
    """Random recursive trees; each motif is joined to a random tree node by one edge with probability ``plant``.

    A tree node mostly copies its parent's colour, so that neighbours are similar; motif nodes have random colours.
    y marks the planted motifs; all columns are NaN for graphs that are not ``labelled``. The group is the tree's size.
    """

    def __init__(self, config: MotifsConfig) -> None:
        self.config = config
        color = Feature("color", "categorical", _COLORS, "made up; neighbours in the tree mostly share it")
        limit = int(config.nodes[1] + _SIZES.sum())
        self._schema = Schema((color,), labels=tuple(MOTIFS), group="size", max_nodes=limit, meta={"domain": "motifs"})

    @property
    def schema(self) -> Schema:
        """One categorical node feature (colour) and one label per motif."""
        return self._schema

    def parts(self) -> Iterator[tuple[int, int]]:
        """Iterate over slices low:high of the graph ids."""
        return ((low, min(low + _ROWS, self.config.graphs)) for low in range(0, self.config.graphs, _ROWS))

    def total_parts(self) -> int:
        """Return the number of slices."""
        return -(-self.config.graphs // _ROWS)

    def rows(self, part: tuple[int, int]) -> int:
        """Return the number of graphs of a slice."""
        return part[1] - part[0]

    def read(self, part: tuple[int, int]) -> tuple[Piece, list[Rejected]]:
        """Generate graphs low:high, a pure function of the seed and the graph ids."""
        config, ids = self.config, np.arange(*part)
        low, high = config.nodes
        trees = low + below(draw(self._key(_SIZE), ids), np.full(len(ids), high - low + 1))
        planted = self._uniform(_PLANT, ids, len(MOTIFS)) < config.plant
        node_ptr = pointers(trees + planted @ _SIZES)
        parent = self._parents(ids, trees)
        owners, pairs = self._tree_edges(trees, parent)
        for number, edges in enumerate(MOTIFS.values()):
            start = trees + planted[:, :number] @ _SIZES[:number]
            owner, pair = self._motif_edges(
                number, np.array(edges), np.flatnonzero(planted[:, number]), ids, trees, start
            )
            owners, pairs = np.concatenate([owners, owner]), np.concatenate([pairs, pair])
        order = np.argsort(owners, kind="stable")
        y = planted.astype(np.float32)
        y[unit_interval(draw(self._key(_KNOWN), ids)) >= config.labelled] = np.nan
        graphs = packed(
            ids,
            node_ptr,
            pointers(np.bincount(owners, minlength=len(ids))),
            pairs[order].T,
            node_cat=self._colors(ids, trees, parent, node_ptr)[:, None],
            y=y,
        )
        return Piece(graphs, group=[str(size) for size in trees]), []

    def _key(self, purpose: int) -> int:
        return key(self.config.seed, purpose)

    def _uniform(self, purpose: int, ids: Ints, columns: int) -> npt.NDArray[np.float64]:
        keys = draw(self._key(purpose), ids)
        return unit_interval(draw(np.repeat(keys, columns), np.tile(np.arange(columns), len(ids)))).reshape(-1, columns)

    def _parents(self, ids: Ints, trees: Ints) -> Ints:
        """Return the local id of each tree node's parent, int64 [tree nodes]; node 0 is its own parent."""
        local = ranges(np.zeros_like(trees), trees)
        return below(draw(np.repeat(draw(self._key(_PARENT), ids), trees), local), np.maximum(local, 1))

    def _tree_edges(self, trees: Ints, parent: Ints) -> tuple[Ints, Ints]:
        local = ranges(np.zeros_like(trees), trees)
        owner = np.repeat(np.arange(len(trees)), trees)
        return owner[local > 0], np.stack([parent, local], axis=1)[local > 0]

    def _motif_edges(
        self, number: int, edges: npt.NDArray[np.int64], graphs: Ints, ids: Ints, trees: Ints, start: Ints
    ) -> tuple[Ints, Ints]:
        """Return graph and local end nodes of one motif's edges in ``graphs``, the edge to the tree included."""
        words = draw(draw(self._key(_PLACE), ids[graphs]), np.full(len(graphs), number))
        joining_edges = np.stack([below(words, trees[graphs]), start[graphs]], axis=1)
        motif_edges = edges[None] + start[graphs, None, None]
        pairs = np.concatenate([joining_edges[:, None], motif_edges], axis=1)
        return np.repeat(graphs, len(edges) + 1), pairs.reshape(-1, 2)

    def _colors(self, ids: Ints, trees: Ints, parent: Ints, node_ptr: Ints) -> Ints:
        counts = np.diff(node_ptr)
        local = ranges(np.zeros_like(counts), counts)
        random_colors = below(
            draw(np.repeat(draw(self._key(_COLOR), ids), counts), local), np.full(len(local), _COLORS)
        )
        rows = ranges(node_ptr[:-1], trees)
        copies = unit_interval(draw(np.repeat(draw(self._key(_SAME), ids), trees), local[rows])) < _COPY
        origin = np.arange(len(local))
        origin[rows] = np.where(copies, parent + np.repeat(node_ptr[:-1], trees), rows)
        while (origin[origin] != origin).any():  # pointer jumping: each round doubles the distance covered
            origin = origin[origin]
        return random_colors[origin]

    def provenance(self) -> dict[str, Any]:
        """Return the options."""
        names = ("graphs", "plant", "labelled", "seed")
        options = {name: getattr(self.config, name) for name in names}
        return {"source": "motifs", "options": {**options, "nodes": list(self.config.nodes)}}

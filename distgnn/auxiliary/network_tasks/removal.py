"""Removal of edges from a sampled network: a share of the edges of sampled nodes, in both directions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distgnn.auxiliary.problem import Rows
from distgnn.graph.keyed import draw, key, unit_interval
from distgnn.graph.purposes import NetworkDraw
from distgnn.network.csr import INVERSE
from distgnn.network.network import Network, Relation, SampledSubgraph


class Removal:
    """Removes edges by a key per edge, so the choice is the same on all ranks and in all subgraphs.

    Both messages of an edge are removed together.
    """

    def __init__(self, network: Network, share: float, seed: int) -> None:
        self.nodes, self.share, self.seed = network.num_nodes, share, seed
        place = {relation: number for number, relation in enumerate(network.relations)}
        forward = [place.get(_forward(relation), -1) for relation in network.relations]
        self.base = np.array([number if base < 0 else base for number, base in enumerate(forward)])
        self.turned = np.array([0 <= base != number for number, base in enumerate(forward)])
        self.symmetric = ~np.isin(self.base, self.base[self.turned])

    def __call__(self, block: SampledSubgraph, sampled: Rows, step: int) -> npt.NDArray[np.bool_]:
        """Return bool [m]: messages of the subgraph removed in a step that sampled the nodes ``sampled`` (global ids)."""
        source, target = block.node[block.source], block.node[block.target]
        turned = np.where(self.symmetric[block.relation], source > target, self.turned[block.relation])
        first, second = np.where(turned, target, source), np.where(turned, source, target)
        keys = draw(key(self.seed, NetworkDraw.REMOVED, step), self.base[block.relation])
        removed = unit_interval(draw(keys, first * self.nodes + second)) < self.share
        is_sampled = np.isin(block.node, sampled)
        return removed & (is_sampled[block.source] | is_sampled[block.target])


def _forward(relation: Relation) -> Relation:
    """Return the inverse relation if ``relation`` is an inverse (NAME^-1), else ``relation`` itself."""
    if not relation.name.endswith(INVERSE):
        return relation
    return Relation(relation.name.removesuffix(INVERSE), relation.target, relation.source)

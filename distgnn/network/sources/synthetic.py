"""Synthetic networks of any size with power-law degrees, to measure the cost of building, storing and sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distgnn import register
from distgnn.config import NetworkBuildConfig
from distgnn.config.base import check
from distgnn.config.fields import SEED, setting
from distgnn.graph.keyed import draw, key, permutation, unit_interval
from distgnn.network.csr import build_network, symmetric
from distgnn.network.network import Network, Relation

_PART = 1 << 22
_RANK, _LEFT, _RIGHT = range(3)


@dataclass(frozen=True, kw_only=True)
class SyntheticNetworkConfig(NetworkBuildConfig):
    """A synthetic network with power-law degrees, to test sizes. Needs no data.

    Example: distgnn network build made --nodes 1000000 --edges 10000000 --out data/made
    """

    nodes: int = setting(100_000, most=1 << 40)
    """Number of nodes."""
    edges: int = setting(1_000_000, most=1 << 40)
    """Number of undirected edges to sample; each passes messages in both directions, and duplicates are merged."""
    skew: float = setting(0.5)
    """The node of rank r by degree is sampled with weight r^-skew; 0 = uniform."""
    seed: int = setting(0, most=SEED)
    """Random seed."""

    def __post_init__(self) -> None:
        check(1 <= self.nodes <= 1 << 31, f"nodes must lie in 1..2^31, found {self.nodes}")
        check(self.edges >= 0, f"edges must not be negative, found {self.edges}")
        check(0 <= self.skew < 1, f"skew must lie in [0, 1), found {self.skew}")


@register.network_source("made", SyntheticNetworkConfig)
def build_synthetic(config: SyntheticNetworkConfig) -> Network:
    """Build a network of one node type with the symmetric relation "linked".

    Both ends of an edge are sampled by weight, so high-degree nodes are linked with each other.
    """
    rank = permutation(key(config.seed, _RANK), config.nodes).astype(np.int32)
    left, right = (_ends(config, key(config.seed, end), rank) for end in (_LEFT, _RIGHT))
    options = {name: getattr(config, name) for name in ("nodes", "edges", "skew", "seed")}
    meta = {"kind": "made", "name": "made", "files": [], "options": options}
    return build_network(
        {"node": config.nodes}, [symmetric(Relation("linked", "node", "node"), left, right)], meta=meta
    )


def _ends(config: SyntheticNetworkConfig, words: int, node: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Sample one end of each edge by inverting the cumulative distribution of the weights rank^-skew."""
    ends = np.empty(config.edges, np.int32)
    for low in range(0, config.edges, _PART):
        uniform = unit_interval(draw(words, np.arange(low, min(low + _PART, config.edges))))
        place = (config.nodes * uniform ** (1 / (1 - config.skew))).astype(np.int64)
        ends[low : low + _PART] = node[np.minimum(place, config.nodes - 1)]  # the product may round up to nodes
    return ends

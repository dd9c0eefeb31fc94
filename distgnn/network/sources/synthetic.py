"""Synthetic networks of any size with power-law degrees, to measure the cost of building, storing and sampling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distgnn.config import MadeConfig
from distgnn.graph.keyed import draw, key, permutation, unit_interval
from distgnn.network.csr import build_network, symmetric
from distgnn.network.network import Network, Relation

_PART = 1 << 22
_RANK, _LEFT, _RIGHT = range(3)


def build_made(config: MadeConfig) -> Network:
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


def _ends(config: MadeConfig, words: int, node: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Sample one end of each edge by inverting the cumulative distribution of the weights rank^-skew."""
    ends = np.empty(config.edges, np.int32)
    for low in range(0, config.edges, _PART):
        uniform = unit_interval(draw(words, np.arange(low, min(low + _PART, config.edges))))
        place = (config.nodes * uniform ** (1 / (1 - config.skew))).astype(np.int64)
        ends[low : low + _PART] = node[np.minimum(place, config.nodes - 1)]  # the product may round up to nodes
    return ends

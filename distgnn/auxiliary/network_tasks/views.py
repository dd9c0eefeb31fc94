"""Subgraph batches of a network for training (sampled per step) and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distgnn.auxiliary.problem import Rows
from distgnn.graph.keyed import key
from distgnn.graph.purposes import NetworkDraw
from distgnn.models.network_encoder import NetworkEncoder, NodeInputs, SubgraphBatch
from distgnn.network.network import Network, SampledSubgraph
from distgnn.network.sample import sample_block

_KEPT = 1 << 23
_SEEDS = 4096


@dataclass(frozen=True)
class Views:
    """Sampling of the training network.

    Attributes:
        network: The network with the messages available in training.
        inputs: Inputs of its nodes.
        fan_out: Maximum number of messages per node in a training step; 0 = all.
        seed: Key of the sampling.
    """

    network: Network
    inputs: NodeInputs
    hops: int
    fan_out: int
    seed: int
    device: torch.device

    def block(self, seeds: Rows, step: int, hops: int | None = None) -> SampledSubgraph:
        """Return the subgraph that all layers (or ``hops`` of them) need to embed ``seeds`` in the network of ``step``."""
        return sample_block(
            self.network,
            seeds,
            self.hops if hops is None else hops,
            self.fan_out,
            key(self.seed, NetworkDraw.STEP, step),
        )

    def cut(self, block: SampledSubgraph) -> SubgraphBatch:
        """Return the subgraph as tensors."""
        return SubgraphBatch(self.inputs, block, self.device)


def without(block: SampledSubgraph, dropped: npt.NDArray[np.bool_]) -> SampledSubgraph:
    """Return the subgraph without some messages. Degrees, used for normalisation, are unchanged."""
    kept = ~dropped
    return replace(block, source=block.source[kept], target=block.target[kept], relation=block.relation[kept])


def joins(block: SampledSubgraph, nodes: int, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return bool [m]: messages between two nodes of a pair, in either direction.

    Args:
        block: The subgraph.
        nodes: N, number of nodes of the network.
        pairs: int64 [2, p], global ids.
    """
    codes = _pair_codes(block.node[block.source], block.node[block.target], nodes)
    return np.isin(codes, _pair_codes(pairs[0], pairs[1], nodes))


def _pair_codes(first: Any, second: Any, nodes: int) -> npt.NDArray[np.int64]:
    return np.minimum(first, second) * nodes + np.maximum(first, second)


@dataclass(frozen=True)
class Evaluation:
    """Embeddings for evaluation, in the whole network (fan_out 0) or in a network sampled once.

    Subgraphs of a network of up to 8 million messages are built once per part and cached. For larger networks they hold
    4096 nodes each and are built on demand.
    """

    network: Network
    inputs: NodeInputs
    hops: int
    fan_out: int
    device: torch.device
    _kept: dict[str, list[SubgraphBatch]] = field(default_factory=dict)

    def embed(self, encoder: NetworkEncoder, nodes: Rows, part: str) -> Tensor:
        """Return [s, width]: embeddings of ``nodes``, which must be the same for every call with a ``part``."""
        seeds, place = np.unique(nodes, return_inverse=True)
        found = torch.cat([encoder(cut) for cut in self._cuts(seeds, part)])
        return found[torch.from_numpy(place.reshape(-1)).to(found.device)]

    def _cuts(self, seeds: Rows, part: str) -> list[SubgraphBatch] | Iterator[SubgraphBatch]:
        if self.network.num_messages > _KEPT:
            return (self._cut(seeds[low : low + _SEEDS]) for low in range(0, len(seeds), _SEEDS))
        if part not in self._kept:
            self._kept[part] = [self._cut(seeds)]
        return self._kept[part]

    def _cut(self, seeds: Rows) -> SubgraphBatch:
        sampling_key = key(0, NetworkDraw.EVALUATION)  # independent of the seed: all seeds are evaluated on one network
        return SubgraphBatch(
            self.inputs, sample_block(self.network, seeds, self.hops, self.fan_out, sampling_key), self.device
        )

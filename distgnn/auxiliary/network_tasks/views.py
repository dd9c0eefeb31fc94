"""What encoders see of a network: cut-outs of the network sampled for a step, and the one that is evaluated on."""

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
    """network: the messages that are passed, inputs: of its nodes. fan_out: of training steps, 0 = all. seed: key of the
    sampling."""

    network: Network
    inputs: NodeInputs
    hops: int
    fan_out: int
    seed: int
    device: torch.device

    def block(self, seeds: Rows, step: int, hops: int | None = None) -> SampledSubgraph:
        """What all layers (or ``hops`` of them) need to embed ``seeds`` in the network sampled for ``step``."""
        return sample_block(
            self.network,
            seeds,
            self.hops if hops is None else hops,
            self.fan_out,
            key(self.seed, NetworkDraw.STEP, step),
        )

    def cut(self, block: SampledSubgraph) -> SubgraphBatch:
        """The block as tensors."""
        return SubgraphBatch(self.inputs, block, self.device)


def without(block: SampledSubgraph, dropped: npt.NDArray[np.bool_]) -> SampledSubgraph:
    """The block less some messages. Degrees stay: they normalise, and are known of nodes at the rim as well."""
    kept = ~dropped
    return replace(block, source=block.source[kept], target=block.target[kept], relation=block.relation[kept])


def joins(block: SampledSubgraph, nodes: int, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """bool [m]: messages between two nodes of a pair, either way. pairs: int64 [2, p], global ids; nodes: N."""
    codes = _pair_codes(block.node[block.source], block.node[block.target], nodes)
    return np.isin(codes, _pair_codes(pairs[0], pairs[1], nodes))


def _pair_codes(first: Any, second: Any, nodes: int) -> npt.NDArray[np.int64]:
    return np.minimum(first, second) * nodes + np.maximum(first, second)


@dataclass(frozen=True)
class Evaluation:
    """Embeddings for scores: of nodes in the whole network (fan_out 0) or in one sampled once.

    Cut-outs of a network of up to 8 million messages are made once for each part and kept; those of a larger one hold 4096
    nodes each and are made when they are needed.
    """

    network: Network
    inputs: NodeInputs
    hops: int
    fan_out: int
    device: torch.device
    _kept: dict[str, list[SubgraphBatch]] = field(default_factory=dict)

    def embed(self, encoder: NetworkEncoder, nodes: Rows, part: str) -> Tensor:
        """[s, width]: embeddings of ``nodes``, which are always the same for a ``part``."""
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
        drawn = key(0, NetworkDraw.EVALUATION)  # the same for every seed, so that seeds are compared on one network
        return SubgraphBatch(
            self.inputs, sample_block(self.network, seeds, self.hops, self.fan_out, drawn), self.device
        )

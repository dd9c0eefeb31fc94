"""Auxiliary task: are two nodes joined by a meta-path? (SELAR, Hwang et al., NeurIPS 2020, section 3.1; AUX-TS, Table 5)."""

from __future__ import annotations

import numpy as np

from distgnn.auxiliary.network_tasks.tasks import AuxiliaryTask, NodeQuery, PairTask, pairs
from distgnn.config import NetworkTaskConfig
from distgnn.distributed import ProcessGroup
from distgnn.graph.keyed import key
from distgnn.graph.purposes import NetworkDraw
from distgnn.network.metapath import path_pairs
from distgnn.network.network import Network

_POSITIVE, _NEGATIVE = range(2)


class MetapathTask(PairTask, AuxiliaryTask):
    """A step has as many joined pairs as not joined ones (one more where aux_batch is odd), drawn anew for each step.

    Labels come from the messages of ``network`` alone: hand in the one that training may see. Raises RequestError for a
    path that has no pairs of either label.
    """

    def __init__(self, network: Network, path: str, config: NetworkTaskConfig, seed: int, group: ProcessGroup) -> None:
        super().__init__(config.width, config.hidden)
        self.name, self.pairs, self.group = path, path_pairs(network, path), group
        self.batch, self.key = config.aux_batch, key(seed, NetworkDraw.PATH)
        self.pairs.negatives(self.key, 1)  # a path that joins everything is refused now, not in the middle of a run

    def ask(self, step: int) -> NodeQuery:
        """This rank's pairs."""
        joined = self.batch - self.batch // 2
        drawn = key(self.key, step)
        positive = np.stack(self.pairs.positives(key(drawn, _POSITIVE), joined))
        negative = np.stack(self.pairs.negatives(key(drawn, _NEGATIVE), self.batch - joined))
        mine = slice(self.group.rank, None, self.group.world_size)
        ends = np.concatenate([positive, negative], axis=1)[:, mine]
        label = np.repeat([1, 0], [joined, self.batch - joined])[mine]
        return pairs(ends[0], ends[1], label, self.group.device)

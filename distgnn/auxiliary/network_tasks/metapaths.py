"""Auxiliary task: meta-path prediction, are two nodes connected by a meta-path (SELAR, Hwang et al., NeurIPS 2020)."""

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
    """Predict whether two nodes are connected by a meta-path (SELAR, section 3.1; AUX-TS, Table 5).

    Each step samples as many connected as unconnected pairs (one more connected pair if aux_batch is odd). Labels are
    derived from the messages of ``network``, which must be the training network.

    Raises:
        RequestError: The path has no pairs of one of the labels.
    """

    def __init__(self, network: Network, path: str, config: NetworkTaskConfig, seed: int, group: ProcessGroup) -> None:
        super().__init__(config.width, config.hidden)
        self.name, self.pairs, self.group = path, path_pairs(network, path, config.paths), group
        self.batch, self.key = config.aux_batch, key(seed, NetworkDraw.PATH)
        self.pairs.negatives(self.key, 1)  # fail early for a path that connects all pairs

    def query(self, step: int) -> NodeQuery:
        """Return this rank's pairs."""
        positives = self.batch - self.batch // 2
        step_key = key(self.key, step)
        positive = np.stack(self.pairs.positives(key(step_key, _POSITIVE), positives))
        negative = np.stack(self.pairs.negatives(key(step_key, _NEGATIVE), self.batch - positives))
        share = slice(self.group.rank, None, self.group.world_size)
        ends = np.concatenate([positive, negative], axis=1)[:, share]
        label = np.repeat([1, 0], [positives, self.batch - positives])[share]
        return pairs(ends[0], ends[1], label, self.group.device)

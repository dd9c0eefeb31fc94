"""The target task "node": which class does a node have?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn.config import NetworkTaskConfig, SplitConfig
from distgnn.errors import RequestError
from distgnn.graph.splits import PARTS, make_split
from distgnn.network.network import Network
from distgnn.transfer.networks.tasks import Asked, NetworkTask, sample_count
from distgnn.transfer.problem import Rows, Samples
from distgnn.transfer.ranking import class_scores

_LABEL = ".label"


@dataclass(frozen=True)
class Nodes:
    """Nodes of type ``kind`` with classes. node, label: int64 by part, global ids and class numbers below ``classes``."""

    kind: str
    classes: int
    node: dict[str, Rows]
    label: dict[str, Rows]


def read_nodes(network: Network, config: NetworkTaskConfig) -> Nodes:
    """The network's labelled nodes, by its own split where it has one; RequestError where there is nothing to learn."""
    kinds = [kind for kind in network.types if kind + _LABEL in network.tables]
    if not kinds:
        raise RequestError("target=node: the network has no table TYPE.label; use target=link or another network")
    kind = kinds[0]
    label = np.asarray(network.tables[kind + _LABEL]).astype(np.int64)
    parts = _parts(network, kind, label, config)
    classes = int(label.max()) + 1
    if classes < 2:
        raise RequestError(f"target=node: {kind} nodes have {classes} classes; at least 2 are needed")
    unknown = [name for name, rows in parts.items() if (label[rows] < 0).any()]
    if unknown:
        raise RequestError(f"target=node: the split's part {unknown[0]!r} has {kind} nodes without a label")
    first = network.nodes(kind).start
    return Nodes(kind, classes, {n: rows + first for n, rows in parts.items()}, {n: label[r] for n, r in parts.items()})


def _parts(network: Network, kind: str, label: Rows, config: NetworkTaskConfig) -> dict[str, Rows]:
    """Local ids of each part: the published split of this size, else the network's only one, else a keyed one."""
    for ending in (f"_{config.official_split}", ""):
        names = {part: f"{kind}.{part}{ending}" for part in PARTS}
        if all(name in network.tables for name in names.values()):
            return {part: np.asarray(network.tables[name]).astype(np.int64) for part, name in names.items()}
    split = SplitConfig(method="random", fractions=config.fractions, seed=config.split_seed)
    return make_split(split, np.arange(len(label)), usable=label >= 0)


class NodeTarget(NetworkTask):
    """Cross entropy over a linear map of embeddings. SELAR's label signal is 0: class numbers have no order."""

    name, metrics = "node", ("micro_f1", "macro_f1", "mrr", "ndcg")

    def __init__(self, nodes: Nodes, config: NetworkTaskConfig, device: torch.device) -> None:
        super().__init__()
        self.nodes, self.device, self.kind = nodes, device, nodes.kind
        self.rows = len(nodes.node["train"])
        self.classify = nn.Linear(config.width, nodes.classes)

    def ask(self, rows: Rows) -> Asked:
        """Training nodes by number."""
        return Asked(self.nodes.node["train"][rows], torch.from_numpy(self.nodes.label["train"][rows]).to(self.device))

    def hidden(self, rows: Rows) -> None:
        """Classes pass no messages, so none has to be hidden."""

    def samples(self, embedded: Tensor, asked: Asked) -> Samples:
        """Cross entropy of each node; asked.data: class numbers int64 [n]."""
        losses = F.cross_entropy(self.classify(embedded), asked.data, reduction="none")
        return Samples(losses, torch.zeros_like(losses), sample_count(losses))

    def scores(self, part: str, embed: Callable[[Rows], Tensor]) -> dict[str, float]:
        """F1 of the likeliest class, and how high the true one is ranked, over all nodes of the part."""
        found = self.classify(embed(self.nodes.node[part])).double().cpu().numpy()
        return class_scores(np.arange(self.nodes.classes) == self.nodes.label[part][:, None], found)

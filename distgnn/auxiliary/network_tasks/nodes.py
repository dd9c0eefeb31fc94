"""Target task: node classification with one class per node; several classes per node are in label_sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn.auxiliary.batches import without_judge
from distgnn.auxiliary.network_tasks.tasks import NodeQuery, TargetTask, sample_count
from distgnn.auxiliary.problem import JUDGE, PartEvaluation, Rows, Samples
from distgnn.config import NetworkTaskConfig, SplitConfig
from distgnn.errors import RequestError
from distgnn.graph.splits import PARTS, make_split
from distgnn.labels.influence import on_mean
from distgnn.labels.ranking import class_scores
from distgnn.network.network import Network

_LABEL = ".label"


@dataclass(frozen=True)
class Nodes:
    """Nodes of type ``kind`` with classes.

    Attributes:
        node: int64 by part, global ids.
        label: int64 by part, class numbers less than ``classes``.
    """

    kind: str
    classes: int
    node: dict[str, Rows]
    label: dict[str, Rows]


def read_nodes(network: Network, config: NetworkTaskConfig) -> Nodes:
    """Read the network's labelled nodes, with its published split if it has one.

    Raises:
        RequestError: There are no usable labels.
    """
    kinds = [kind for kind in network.types if kind + _LABEL in network.tables]
    if not kinds:
        raise RequestError("target=node: the network has no table TYPE.label; use target=link or another network")
    kind = kinds[0]
    label = np.asarray(network.tables[kind + _LABEL]).astype(np.int64)
    parts = labelled_parts(network, kind, label >= 0, config)
    classes = int(label.max()) + 1
    if classes < 2:
        raise RequestError(f"target=node: {kind} nodes have {classes} classes; at least 2 are needed")
    first = network.nodes(kind).start
    return Nodes(kind, classes, {n: rows + first for n, rows in parts.items()}, {n: label[r] for n, r in parts.items()})


def labelled_parts(
    network: Network, kind: str, known: npt.NDArray[np.bool_], config: NetworkTaskConfig
) -> dict[str, Rows]:
    """Return the ids, within the type, of the nodes of each part.

    The split is the published one of the configured size, else the network's only split, else a keyed random one.

    Args:
        network: The network.
        kind: Type of the nodes.
        known: bool [nodes of the type], which nodes have a label.
        config: Options of the split.

    Raises:
        RequestError: A part is empty or has nodes without a label.
    """
    names = published_split(network, kind, config)
    if names:
        parts = {part: np.asarray(network.tables[name]).astype(np.int64) for part, name in names.items()}
        _check(kind, parts, known)
        return parts
    split = SplitConfig(method="random", fractions=config.fractions, seed=config.split_seed)
    return make_split(split, np.arange(len(known)), usable=known)


def published_split(network: Network, kind: str, config: NetworkTaskConfig) -> dict[str, str]:
    """Return the tables of the published split of the nodes of type ``kind``, by part; empty without one."""
    for ending in (f"_{config.official_split}", ""):
        names = {part: f"{kind}.{part}{ending}" for part in PARTS}
        if all(name in network.tables for name in names.values()):
            return names
    return {}


def _check(kind: str, parts: dict[str, Rows], known: npt.NDArray[np.bool_]) -> None:
    for name, rows in parts.items():
        if not len(rows):
            raise RequestError(
                f"target=node: the split's part {name!r} has no {kind} nodes; build the network from more data"
            )
        if not known[rows].all():
            raise RequestError(f"target=node: the split's part {name!r} has {kind} nodes without a label")


def likely_classes(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return [n, 2]: the most likely class and its probability; logits: [n, classes]."""
    probability = 1 / np.exp(logits - logits.max(1, keepdims=True)).sum(1)
    return np.stack([logits.argmax(1), probability], axis=1).astype(np.float32)


class NodeTarget(TargetTask):
    """Cross-entropy of a linear map of the embeddings. The label signal of SELAR is 0, since classes have no order."""

    name, metrics = "node", ("micro_f1", "macro_f1", "mrr", "ndcg")

    def __init__(self, nodes: Nodes, config: NetworkTaskConfig, device: torch.device) -> None:
        super().__init__()
        self.nodes, self.device, self.kind = nodes, device, nodes.kind
        self.rows, self.validation = len(nodes.node["train"]), len(nodes.node["val"])
        self.classify = nn.Linear(config.width, nodes.classes)

    def strata(self) -> Rows:
        """Class of each training node."""
        return self.nodes.label["train"]

    def split_validation(self, seed: int) -> int:
        """See :class:`TargetTask`."""
        nodes, strata = self.nodes, self.nodes.label["val"]
        node, label = (without_judge(columns, strata, seed) for columns in (nodes.node, nodes.label))
        self.nodes = replace(nodes, node=node, label=label)
        return len(node[JUDGE])

    def query(self, rows: Rows, part: str = "train", step: int = 0) -> NodeQuery:  # noqa: ARG002
        """Return the query of nodes of a part, given by row."""
        return NodeQuery(self.nodes.node[part][rows], torch.from_numpy(self.nodes.label[part][rows]).to(self.device))

    def samples(self, embedded: Tensor, query: NodeQuery) -> Samples:
        """Return the cross-entropy of each node; query.data: class numbers int64 [n]."""
        losses = F.cross_entropy(self.classify(embedded), query.data, reduction="none")
        return Samples(losses, torch.zeros_like(losses), sample_count(losses))

    def described(self, part: str) -> dict[str, Rows]:
        """See :class:`TargetTask`."""
        return {self.kind: self.nodes.node[part], "y": self.nodes.label[part]}

    def evaluate(self, part: str, embed: Callable[[Rows], Tensor]) -> PartEvaluation:
        """Return F1 of the most likely class, and ranking metrics of the true class."""
        found = self.classify(embed(self.nodes.node[part])).double().cpu().numpy()
        label = self.nodes.label[part]
        scores = class_scores(np.arange(self.nodes.classes) == label[:, None], found)
        return PartEvaluation(scores, predictions=likely_classes(found), influence=on_mean(found.argmax(1) == label))

"""Target task: multi-label node classification, such as a paper's fields (GPT-GNN and AUX-TS on OAG_CS)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn.auxiliary.batches import without_judge
from distgnn.auxiliary.network_tasks.nodes import labelled_parts, likely_classes
from distgnn.auxiliary.network_tasks.tasks import NodeQuery, TargetTask, sample_count
from distgnn.auxiliary.problem import JUDGE, PartEvaluation, Rows, Samples
from distgnn.config import NetworkTaskConfig
from distgnn.errors import RequestError
from distgnn.graph.ragged import pointers, ranges
from distgnn.labels.influence import on_mean
from distgnn.labels.ranking import label_scores, reciprocal_ranks
from distgnn.network.network import Network

_COLUMNS = ".labels.node", ".labels.class", ".labels.meaning"
_ROWS = 256
"""Nodes ranked at once: scores of thousands of classes for all nodes of a part would not fit in memory."""


@dataclass(frozen=True)
class LabelSets:
    """Nodes of type ``kind`` with sets of labels.

    The node with the global id first + v has the labels label[pointer[v]:pointer[v + 1]].

    Attributes:
        node: int64 by part, global ids.
        label: int64, less than ``classes``.
    """

    kind: str
    classes: int
    node: dict[str, Rows]
    first: int
    pointer: Rows
    label: Rows

    def of(self, nodes: Rows) -> tuple[Rows, Rows]:
        """Return (index into ``nodes``, label), int64 [p] each, for every label of ``nodes`` (global ids)."""
        start, stop = (self.pointer[nodes - self.first + more] for more in (0, 1))
        return np.repeat(np.arange(len(nodes)), stop - start), self.label[ranges(start, stop - start)]


def has_label_sets(network: Network) -> bool:
    """Return whether nodes of any type have sets of labels."""
    return any(kind + _COLUMNS[0] in network.tables for kind in network.types)


def read_label_sets(network: Network, config: NetworkTaskConfig) -> LabelSets:
    """Read the label sets of the network, split by :func:`labelled_parts`.

    The tables are TYPE.labels.node (ids within the type) and TYPE.labels.class (class numbers), with a row per label of
    a node, and TYPE.labels.meaning, the names of the classes.

    Raises:
        RequestError: The tables are inconsistent.
    """
    kind = next(kind for kind in network.types if kind + _COLUMNS[0] in network.tables)
    names = [kind + column for column in _COLUMNS]
    missing = [name for name in names if name not in network.tables]
    if missing:
        raise RequestError(f"target=node: the network has no table {missing[0]!r}; build it again")
    node, label, meaning = (np.asarray(network.tables[name]).astype(np.int64) for name in names)
    nodes, classes = network.nodes(kind), len(meaning)
    if len(node) != len(label):
        raise RequestError(
            f"target=node: {names[0]} has {len(node)} rows, {names[1]} {len(label)}; build the network again"
        )
    if classes < 2:
        raise RequestError(f"target=node: {kind} nodes have {classes} classes; at least 2 are needed")
    for name, ids, size in ((names[0], node, len(nodes)), (names[1], label, classes)):
        bad = (ids < 0) | (ids >= size)
        if bad.any():
            row = int(np.argmax(bad))
            raise RequestError(f"target=node: {name}, row {row + 1}: {ids[row]} does not lie in 0 to {size - 1}")
    node, label = np.divmod(np.unique(node * classes + label), classes)
    pointer = pointers(np.bincount(node, minlength=len(nodes)))
    parts = labelled_parts(network, kind, np.diff(pointer) > 0, config)
    return LabelSets(
        kind, classes, {part: rows + nodes.start for part, rows in parts.items()}, nodes.start, pointer, label
    )


class LabelSetTarget(TargetTask):
    """KL divergence between the predicted distribution and the uniform distribution over a node's labels.

    The prediction is the softmax over a linear map of the embedding, as in the code of GPT-GNN and AUX-TS
    (finetune_OAG_PF.py). The label signal of SELAR is 0, since labels have no order.
    """

    name, metrics = "node", ("mrr", "ndcg")

    def __init__(self, sets: LabelSets, config: NetworkTaskConfig, device: torch.device) -> None:
        super().__init__()
        self.sets, self.device, self.kind = sets, device, sets.kind
        self.rows, self.validation = len(sets.node["train"]), len(sets.node["val"])
        self.classify = nn.Linear(config.width, sets.classes)

    def split_validation(self, seed: int) -> int:
        """See :class:`TargetTask`."""
        node = without_judge(self.sets.node, np.zeros(len(self.sets.node["val"]), np.int64), seed)
        self.sets = replace(self.sets, node=node)
        return len(node[JUDGE])

    def query(self, rows: Rows, part: str = "train", step: int = 0) -> NodeQuery:  # noqa: ARG002
        """Return the query of nodes of a part, given by row."""
        nodes = self.sets.node[part][rows]
        return NodeQuery(nodes, tuple(torch.from_numpy(column).to(self.device) for column in self.sets.of(nodes)))

    def samples(self, embedded: Tensor, query: NodeQuery) -> Samples:
        """Return the divergence of each node; query.data: (index, label), int64 [p] each."""
        guess = F.log_softmax(self.classify(embedded), dim=1)
        truth = guess.new_zeros(guess.shape)
        truth[query.data] = 1
        losses = F.kl_div(guess, truth / truth.sum(1, keepdim=True), reduction="none").sum(1)
        return Samples(losses, torch.zeros_like(losses), sample_count(losses))

    def described(self, part: str) -> dict[str, Rows]:
        """See :class:`TargetTask`; a node may have several labels."""
        return {self.kind: self.sets.node[part]}

    def evaluate(self, part: str, embed: Callable[[Rows], Tensor]) -> PartEvaluation:
        """Return ranking metrics of the nodes' labels among all classes."""
        nodes, found, firsts, likely = self.sets.node[part], [], [], []
        embedded = embed(nodes)
        for low in range(0, len(nodes), _ROWS):
            relevant = np.zeros((len(nodes[low : low + _ROWS]), self.sets.classes), np.bool_)
            relevant[self.sets.of(nodes[low : low + _ROWS])] = True
            scores = self.classify(embedded[low : low + _ROWS]).double().cpu().numpy()
            found.append((len(relevant), label_scores(relevant, scores)))
            firsts.append(reciprocal_ranks(relevant, scores))
            likely.append(likely_classes(scores))
        means = {name: sum(rows * metrics[name] for rows, metrics in found) / len(nodes) for name in self.metrics}
        influence = on_mean(np.concatenate(firsts))
        return PartEvaluation(means, predictions=np.concatenate(likely), influence=influence)

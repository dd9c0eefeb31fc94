"""Interface of tasks on a network, and common parts: node sampling and losses of node pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn.auxiliary.network_tasks.views import Views
from distgnn.auxiliary.problem import PartEvaluation, Rows, Samples
from distgnn.config import NetworkTaskConfig
from distgnn.distributed import ProcessGroup
from distgnn.graph.keyed import distinct, draw
from distgnn.models.network_encoder import NetworkEncoder, SubgraphBatch


@dataclass(frozen=True)
class NodeQuery:
    """One rank's share of a task in a step.

    Attributes:
        seeds: int64 [s], global ids of the nodes to embed.
        data: Further inputs of the task's losses.
        cut: Subgraph to embed the seeds in, if the task changes messages or inputs; None = the common subgraph of the
            step.
    """

    seeds: Rows
    data: Any
    cut: SubgraphBatch | None = None


class NetworkTask(nn.Module):
    """A task on the shared encoder; its parameters are the task's head."""

    name: str

    def inputs(self, encoder: NetworkEncoder, query: NodeQuery) -> Tensor | None:  # noqa: ARG002
        """Return float [n, width], replacements of the nodes' inputs; None = unchanged inputs."""
        return None

    def samples(self, embedded: Tensor, query: NodeQuery) -> Samples:
        """Return the losses for the seeds' embeddings [s, width]."""
        raise NotImplementedError


class TargetTask(NetworkTask):
    """The target task.

    Attributes:
        kind: Type of its nodes.
        rows: Number of training rows.
        metrics: Names of the metrics of ``scores``; the first selects the epoch.
        hides: Whether the node pairs of a step's training rows exchange no messages in the step.
    """

    kind: str
    metrics: tuple[str, ...]
    rows: int
    validation: int
    hides = False

    def strata(self) -> Rows:
        """int64 [rows], class of each training row; zeros for rows without a class or with several."""
        return np.zeros(self.rows, np.int64)

    def split_validation(self, seed: int) -> int:
        """Move half of the rows of "val" to the part JUDGE, and return their number."""
        raise NotImplementedError

    def query(self, rows: Rows, part: str = "train", step: int = 0) -> NodeQuery:
        """Return the query of rows of a part; ``step`` determines what is drawn, if anything."""
        raise NotImplementedError

    def pairs_of(self, rows: Rows, part: str = "train") -> Rows | None:  # noqa: ARG002
        """Return int64 [2, p]: the node pairs that ``rows`` of a part predict; None if they predict no links."""
        return None

    def described(self, part: str) -> dict[str, Rows]:
        """Return int64 [rows of the part] by name: global ids of the nodes by type, and "y", the label, if there is one each."""
        raise NotImplementedError

    def evaluate(self, part: str, embed: Callable[[Rows], Tensor]) -> PartEvaluation:
        """Return the metrics over all rows of the part, the influence of the rows, and predictions.

        The predictions are float32 [rows, 1], scores or probabilities, or [rows, 2], the most likely class and its probability.

        Args:
            part: Name of the part.
            embed: Maps global ids [s] to embeddings [s, width].
        """
        raise NotImplementedError


@dataclass(frozen=True)
class TaskContext:
    """What an auxiliary task is built from, besides its own options.

    Attributes:
        views: The training network and its sampling.
        kind: Type of the target's nodes.
        options: Options common to all tasks.
        seed: Training seed.
        group: The training processes.
    """

    views: Views
    kind: str
    options: NetworkTaskConfig
    seed: int
    group: ProcessGroup


class AuxiliaryTask(NetworkTask):
    """An auxiliary task, built as ``Class(config, context: TaskContext)``."""

    def query(self, step: int) -> NodeQuery:
        """Return this rank's share of a step, a function of (seed, step)."""
        raise NotImplementedError


class PairTask(NetworkTask):
    """Binary classification of node pairs: sigmoid(phi(x) . phi(y)), with phi a linear-ReLU-linear network (SELAR).

    With ``hidden=0``, phi is the identity.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        layers = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width)] if hidden else []
        self.phi = nn.Sequential(*layers)

    def logits(self, embedded: Tensor) -> Tensor:
        """Return [n] for rows [2 n, width]: all first nodes, then all second nodes."""
        first, second = self.phi(embedded).chunk(2)
        return (first * second).sum(1)

    def samples(self, embedded: Tensor, query: NodeQuery) -> Samples:
        """Return the binary cross-entropy of each pair; query.data: labels float32 [n]."""
        labels = query.data.to(embedded.dtype)
        losses = F.binary_cross_entropy_with_logits(self.logits(embedded), labels, reduction="none")
        return Samples(losses, labels, sample_count(losses))


def pairs(first: Rows, second: Rows, labels: npt.NDArray[np.integer[Any]], device: torch.device) -> NodeQuery:
    """Return the query of a :class:`PairTask` for pairs of global ids [n] with labels 0 or 1."""
    return NodeQuery(np.concatenate([first, second]), torch.from_numpy(labels.astype(np.float32)).to(device))


def sample_count(losses: Tensor) -> Tensor:
    """Return the number of samples as a scalar with the dtype and device of ``losses``."""
    return torch.tensor(float(losses.numel()), dtype=losses.dtype, device=losses.device)


def draw_nodes(key: int, nodes: range, count: int) -> Rows:
    """Sample ``count`` distinct ``nodes`` with a key, in random order; all of them, ascending, if there are no more."""
    if len(nodes) <= count:
        return np.arange(nodes.start, nodes.stop)
    return distinct(draw(key, 0), np.array([len(nodes)]), count)[0] + nodes.start

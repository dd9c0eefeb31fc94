"""The small interface of every task on a network, and what tasks share: drawn nodes, and losses of pairs."""

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
from distgnn.auxiliary.problem import Rows, Samples
from distgnn.config import NetworkTaskConfig
from distgnn.distributed import ProcessGroup
from distgnn.graph.keyed import distinct, draw
from distgnn.models.network_encoder import NetworkEncoder, SubgraphBatch


@dataclass(frozen=True)
class NodeQuery:
    """One task's share of a step. seeds: int64 [s], global ids of the nodes whose embeddings its losses read.

    data: what else its losses read, made by the task for itself. cut: the cut-out to embed the seeds in where the task
    changes messages or inputs; None = the step's common one.
    """

    seeds: Rows
    data: Any
    cut: SubgraphBatch | None = None


class NetworkTask(nn.Module):
    """What one task reads on top of the shared encoder; its parameters are the task's head."""

    name: str

    def inputs(self, encoder: NetworkEncoder, asked: NodeQuery) -> Tensor | None:  # noqa: ARG002
        """float [n, width] to embed instead of the nodes' own inputs; None = their own."""
        return None

    def samples(self, embedded: Tensor, asked: NodeQuery) -> Samples:
        """Losses from the seeds' embeddings [s, width]."""
        raise NotImplementedError


class TargetTask(NetworkTask):
    """The task that is judged. kind: the type of nodes it is about. rows: how many training rows it has. metrics: names of
    what ``scores`` gives, the one that selects first."""

    kind: str
    metrics: tuple[str, ...]
    rows: int

    def strata(self) -> Rows:
        """int64 [rows], the class of each training row; zeros where rows have none, or several."""
        return np.zeros(self.rows, np.int64)

    def ask(self, rows: Rows) -> NodeQuery:
        """Training rows by number."""
        raise NotImplementedError

    def hidden(self, rows: Rows) -> Rows | None:  # noqa: ARG002
        """int64 [2, p]: pairs of nodes that pass no messages in a step that asks for training ``rows``; None = all may."""
        return None

    def scores(self, part: str, embed: Callable[[Rows], Tensor]) -> dict[str, float]:
        """Metrics over all rows of the part; ``embed``: global ids [s] -> [s, width]."""
        raise NotImplementedError


@dataclass(frozen=True)
class TaskContext:
    """What an auxiliary task is built from, besides its own options.

    Attributes:
        views: The network whose messages training may see, and how it is sampled.
        kind: The type of nodes that the target is about.
        options: Options that tasks share.
        seed: Of the training.
        group: The processes that train together.
    """

    views: Views
    kind: str
    options: NetworkTaskConfig
    seed: int
    group: ProcessGroup


class AuxiliaryTask(NetworkTask):
    """A task that makes its samples itself, built as ``Class(config, context: TaskContext)``."""

    def ask(self, step: int) -> NodeQuery:
        """This rank's share of a step, a function of (seed, step)."""
        raise NotImplementedError


class PairTask(NetworkTask):
    """Whether two nodes belong together: sigmoid(phi(x) . phi(y)), phi = linear, ReLU, linear (as published by SELAR)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def logits(self, embedded: Tensor) -> Tensor:
        """[n] of rows [2 n, width]: all first nodes, then all second ones."""
        first, second = self.phi(embedded).chunk(2)
        return (first * second).sum(1)

    def samples(self, embedded: Tensor, asked: NodeQuery) -> Samples:
        """Binary cross entropy of each pair; asked.data: labels float32 [n]."""
        labels = asked.data.to(embedded.dtype)
        losses = F.binary_cross_entropy_with_logits(self.logits(embedded), labels, reduction="none")
        return Samples(losses, labels, sample_count(losses))


def pairs(first: Rows, second: Rows, labels: npt.NDArray[np.integer[Any]], device: torch.device) -> NodeQuery:
    """What a :class:`PairTask` asks of pairs of global ids [n] with labels 0 or 1."""
    return NodeQuery(np.concatenate([first, second]), torch.from_numpy(labels.astype(np.float32)).to(device))


def sample_count(losses: Tensor) -> Tensor:
    """How many samples there are, as a scalar of the losses' kind."""
    return torch.tensor(float(losses.numel()), dtype=losses.dtype, device=losses.device)


def draw_nodes(key: int, nodes: range, count: int) -> Rows:
    """``count`` different ones of ``nodes``, keyed, in random order; all of them, ascending, where there are no more."""
    if len(nodes) <= count:
        return np.arange(nodes.start, nodes.stop)
    return distinct(draw(key, 0), np.array([len(nodes)]), count)[0] + nodes.start

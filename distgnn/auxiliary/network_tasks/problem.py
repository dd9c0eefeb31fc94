"""Multi-task problem on one large network: a target and auxiliary tasks on one shared encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distgnn.auxiliary.network_tasks.tasks import AuxiliaryTask, NetworkTask, NodeQuery, TargetTask
from distgnn.auxiliary.network_tasks.views import Evaluation, Views, joins, without
from distgnn.auxiliary.problem import JUDGE, PartEvaluation, Rows, Samples, scaled
from distgnn.distributed import ProcessGroup
from distgnn.graph.keyed import key
from distgnn.graph.purposes import NetworkDraw
from distgnn.models.network_encoder import NetworkEncoder, SubgraphBatch

PREDICTED = "test"


@dataclass(frozen=True)
class NetworkBatch:
    """One rank's share of a step.

    Attributes:
        cut: The common subgraph, of the seeds of ``folds`` and then of those ``auxiliary`` queries without a subgraph
            of their own.
        hidden: int64 [2, p] or None, pairs of nodes that exchange no messages in this step.
    """

    step: int
    folds: list[NodeQuery]
    auxiliary: list[NodeQuery]
    cut: SubgraphBatch
    hidden: Rows | None
    fold_cuts: dict[int, SubgraphBatch] = field(default_factory=dict)


class NetworkProblem:
    """A multi-task problem on a network, see :class:`~distgnn.auxiliary.problem.MultiTaskProblem`.

    One forward pass serves all tasks that change neither messages nor inputs. In a step all ranks see the same sampled
    network. Rows, pairs and sampled nodes are distributed round-robin; embeddings do not depend on the share of a rank,
    so sums over ranks equal those of a single rank. With messages=hide, the links of all folds of a step exchange no
    messages; folds do not depend on each other otherwise.

    Attributes:
        left_out: Why meta-paths of ``symmetric_paths`` are not among the auxiliary tasks, one line each.
    """

    lower_is_better: frozenset[str] = frozenset()
    parts: tuple[str, ...] = ("val", "test")
    loss_scales: tuple[float, ...] = ()
    judges = 0
    left_out: tuple[str, ...] = ()

    def __init__(
        self,
        encoder: NetworkEncoder,
        target: TargetTask,
        auxiliary: Sequence[AuxiliaryTask],
        views: Views,
        evaluation: Evaluation,
        group: ProcessGroup,
    ) -> None:
        self.encoder, self.target, self.auxiliary = encoder, target, list(auxiliary)
        self.views, self.evaluation, self.group = views, evaluation, group
        self.shared: nn.Module = encoder
        self.heads = nn.ModuleList([target, *auxiliary])
        self.names = (target.name, *(task.name for task in auxiliary))
        self.rows, self.strata, self.metrics = target.rows, target.strata(), target.metrics
        self.validation = target.validation

    def split_validation(self, seed: int) -> None:
        """See :class:`~distgnn.auxiliary.problem.MultiTaskProblem`."""
        self.judges = self.target.split_validation(seed)

    def fetch(self, folds: Sequence[Rows], step: int, auxiliary: bool = True) -> NetworkBatch:
        """See :class:`~distgnn.auxiliary.problem.MultiTaskProblem`. Samples the network on the CPU."""
        hidden = self.target.pairs_of(np.concatenate(folds)) if self.target.hides else None
        queries = [self._query(rows, "train", step) for rows in folds]
        tasks = [task.query(step) for task in self.auxiliary] if auxiliary else []
        seeds = np.concatenate([one.seeds for one in (*queries, *tasks) if one.cut is None])
        return NetworkBatch(step, queries, tasks, self._cut(seeds, step, hidden), hidden)

    def fetch_unseen(self, rows: Rows, step: int) -> NetworkBatch:
        """See :class:`~distgnn.auxiliary.problem.MultiTaskProblem`. Their links exchange no messages, as in evaluation."""
        part = JUDGE if self.judges else "train"
        query, hidden = self._query(rows, part, step), self.target.pairs_of(rows, part)
        cut = self._cut(query.seeds, step, hidden)
        return NetworkBatch(step, [query], [], cut, hidden, {0: cut})

    def _query(self, rows: Rows, part: str, step: int) -> NodeQuery:
        """Return this rank's share of rows of the target."""
        share = slice(self.group.rank, None, self.group.world_size)
        return self.target.query(np.asarray(rows, np.int64)[share], part, step)

    def _cut(self, seeds: Rows, step: int, hidden: Rows | None) -> SubgraphBatch:
        block = self.views.block(seeds, step)
        if hidden is not None:
            block = without(block, joins(block, self.views.network.num_nodes, hidden))
        return self.views.cut(block)

    def losses(self, batch: Any) -> tuple[list[Samples], list[Samples]]:
        """See :class:`~distgnn.auxiliary.problem.MultiTaskProblem`."""
        common = [one for one in (*batch.folds, *batch.auxiliary) if one.cut is None]
        self._restart_dropout(batch.step, 0)
        parts = iter(self.encoder(batch.cut).split([len(one.seeds) for one in common]))
        target = [self.target.samples(next(parts), one) for one in batch.folds]
        auxiliary = []
        for place, (task, one) in enumerate(zip(self.auxiliary, batch.auxiliary, strict=False), start=1):
            embedded = next(parts) if one.cut is None else self._embed(task, one, batch.step, place)
            auxiliary.append(task.samples(embedded, one))
        return target, scaled(auxiliary, self.loss_scales)

    def _embed(self, task: NetworkTask, query: NodeQuery, step: int, place: int) -> Tensor:
        self._restart_dropout(step, place)
        return self.encoder(query.cut, task.inputs(self.encoder, query))

    def fold_losses(self, batch: Any, fold: int) -> Samples:
        """See :class:`~distgnn.auxiliary.problem.MultiTaskProblem`. Embeds the fold only; dropout masks differ."""
        query = batch.folds[fold]
        if fold not in batch.fold_cuts:
            batch.fold_cuts[fold] = self._cut(query.seeds, batch.step, batch.hidden)
        self._restart_dropout(batch.step, -1 - fold)
        return self.target.samples(self.encoder(batch.fold_cuts[fold]), query)

    def _restart_dropout(self, step: int, number: int) -> None:
        self.encoder.dropout.restart(key(self.views.seed, NetworkDraw.DROPOUT, step, number))

    @torch.no_grad()
    def evaluate(self, part: str) -> PartEvaluation:
        """See :class:`~distgnn.auxiliary.problem.MultiTaskProblem`. Every rank evaluates the whole part.

        Only the predictions of the part PREDICTED are kept.
        """
        training = self.encoder.training
        self.encoder.eval()
        try:
            found = self.target.evaluate(part, lambda nodes: self.evaluation.embed(self.encoder, nodes, part))
            return found if part == PREDICTED else replace(found, predictions=None)
        finally:
            self.encoder.train(training)

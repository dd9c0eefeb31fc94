"""L2P-GNN: pre-training by meta-learning with adaptation per graph (Lu et al., AAAI 2021, Eq. 6-13).

Lu et al., "Learning to pre-train graph neural networks". One forward pass computes for every graph G of the batch:
    psi'   = psi   - alpha * d/dpsi   sum_c L_node(psi; S_c)         s times   (Eq. 7, 10)
    omega' = omega - beta  * d/domega L_graph(omega; S)              t times   (Eq. 8, 11; node embeddings from psi)
    loss   = L_graph(omega'; Q) + 1/k sum_c L_node(psi'; Q_c)                  (Eq. 9, 12; node embeddings from psi')

With adaptation=batch all graphs of a stream share one psi' and omega', adapted on the mean of their losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn import register
from distgnn.config.base import check
from distgnn.config.fields import hyper
from distgnn.graph.batch import GraphBatch
from distgnn.graph.keyed import key
from distgnn.graph.purposes import PretrainDraw
from distgnn.graph.subgraph import keep_edges
from distgnn.models.batch_context import Context
from distgnn.models.encoder import Encoder
from distgnn.models.fast_weights import FastWeights
from distgnn.objectives.base import Losses, Objective, ObjectiveContext
from distgnn.objectives.l2p.dimensions import shifted_dimensions
from distgnn.objectives.l2p.task_batch import EdgeSamples, TaskBatch
from distgnn.objectives.l2p.task_sampler import TaskBuilder
from distgnn.objectives.streams import next_graph


@dataclass(frozen=True)
class L2PConfig:
    """L2P-GNN's meta-learning (Lu et al., AAAI 2021, Eq. 6-13)."""

    node_steps: int = hyper(1, most=1000)
    """s: inner gradient steps on psi (0..3)."""
    graph_steps: int = hyper(1, most=1000)
    """t: inner gradient steps on omega (0..3)."""
    order: Literal[1, 2] = hyper(2)
    """2 = differentiate through the adaptation, 1 = first-order approximation (the update is treated as a constant)."""
    levels: Literal["both", "node", "graph"] = hyper("both")
    """Levels with a loss and adaptation: both, or only one of them (ablations, Fig. 3a)."""
    adaptation: Literal["graph", "batch"] = hyper("graph")
    """graph = every graph adapts its own psi and omega (paper), batch = all graphs of a stream share one adaptation on
    the mean of their losses (similar to the released code).
    """
    messages: Literal["all", "no_support", "no_tasks"] = hyper("all")
    """Edges used for message passing: all (paper and released code), no_support = all except the support edges,
    no_tasks = all except support and query edges, so that the encoder does not see the links it predicts.
    """
    children: int = hyper(1, most=1024)
    """k: child tasks per graph."""
    support: int = hyper(10, most=65_536)
    """Support edges per child task; fewer in small graphs."""
    query: int = hyper(5, most=65_536)
    """Query edges per child task; fewer in small graphs."""
    node_lr: float = hyper(1e-2)
    """alpha: inner learning rate of psi, for an encoder of the width ``node_lr_width``."""
    node_lr_width: int = hyper(64, most=32_768, before=0)
    """The inner learning rate of psi is node_lr * node_lr_width / encoder.width, since the change of the scores by a
    step grows with the width; 0 = node_lr at every width (paper).
    """
    graph_lr: float = hyper(1e-2)
    """beta: inner learning rate of omega."""
    adapted_layers: int = hyper(1, most=1000, before=0)
    """Number of layers of psi that adapt, counted from the last; 0 = all (paper). The layers below are computed once per
    step. A module written for PyG always adapts as a whole.
    """
    support_loss: Literal["sum", "mean"] = hyper("mean", before="sum")
    """Loss of an inner step on psi: sum over the support edges of a child task (Eq. 7), or their mean (released code), with
    which the step does not grow with their number.
    """
    scores: Literal["dot", "scaled"] = hyper("scaled", before="dot")
    """Scores of links and subgraphs: dot products (paper), or dot products / sqrt(encoder.width)."""
    negatives: Literal["shift", "other"] = hyper("shift")
    """Negative graph embedding: shift = the graph's own with some dimensions permuted (paper), other = the next graph
    of the stream.
    """

    @classmethod
    def paper(cls, **changes: Any) -> L2PConfig:
        """Return the options of the paper: all layers adapt on sums of dot products, at rates that do not depend on the width."""
        options = {"node_lr": 1e-3, "node_lr_width": 0, "graph_lr": 1e-3, "adapted_layers": 0}
        return cls(**{**options, "support_loss": "sum", "scores": "dot", **changes})

    def __post_init__(self) -> None:
        for name in ("node_steps", "graph_steps"):
            value = getattr(self, name)
            check(0 <= value <= 3, f"l2p.{name} must be 0, 1, 2 or 3, found {value}")
        for name in ("children", "support", "query"):
            value = getattr(self, name)
            check(value >= 1, f"l2p.{name} must be at least 1, found {value}")
        for name in ("node_lr", "graph_lr", "node_lr_width", "adapted_layers"):
            value = getattr(self, name)
            check(value >= 0, f"l2p.{name} must not be negative, found {value}")


@register.objective("l2p", L2PConfig)
class L2P(Objective):
    """Meta-learning with adaptation on child tasks of links and subgraphs (L2P-GNN, Lu et al., AAAI 2021).

    See the module docstring. Losses are sums over usable graphs (those with a child task).

    Metrics: ``link_accuracy``, the share of query links classified correctly after adaptation; ``adaptation_gain``, the
    decrease of the query loss by adaptation; ``inner_loss``, the support loss of the adapted levels before the first
    inner step; ``skipped``, the share of graphs that are not usable.
    """

    metric_names = ("link_accuracy", "adaptation_gain", "inner_loss", "skipped")

    def __init__(self, config: L2PConfig, context: ObjectiveContext | None = None) -> None:  # noqa: ARG002
        super().__init__()
        self.config = config
        self.prepare = TaskBuilder(config.children, config.support, config.query)

    @property
    def adaptation_order(self) -> int:
        """See :class:`Objective`."""
        own = self.config
        adapts = own.adaptation == "graph" and own.levels != "graph" and own.node_steps > 0
        return own.order if adapts else 0

    def losses(self, encoder: Encoder, batch: GraphBatch, seed: int, epoch: int) -> Losses:
        """Return the query loss after adaptation, summed over usable graphs.

        It is differentiable with respect to theta = {psi, omega} (Eq. 12-13).
        """
        tasks = TaskBatch(batch)
        context = encoder.context(self._visible(tasks))
        if not tasks.usable.numel():
            encoder(context)  # every rank updates its running statistics
            zero = torch.zeros((), device=encoder.device)
            return self._report(zero, tasks, zero, zero, (zero, zero))
        moved = self.moved_dimensions(encoder, tasks, seed, epoch)
        prior, adapted, node_loss = self._adapt_nodes(encoder, context, tasks)
        fast_omega, graph_loss = self._adapt_pooling(encoder, context, tasks, prior, moved[0])
        total = self._query_loss(encoder, tasks, adapted, fast_omega, moved[1])
        with torch.no_grad():
            before = self._query_loss(encoder, tasks, prior, None, moved[1])
        (positive, negative), has = tasks.query.scores(adapted.detach()), tasks.query.has_negative
        correct = (positive > 0).sum() + ((negative < 0) * has).sum()
        inner = self._inner(tasks, prior, [loss for loss in (node_loss, graph_loss) if loss is not None])
        return self._report(total, tasks, before - total.detach(), correct / (has.numel() + has.sum()), inner)

    def adapted_embeddings(self, encoder: Encoder, batch: GraphBatch, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Embed graphs by their own weights psi' and omega', as the query loss does (Eq. 9).

        Graphs without tasks keep psi and omega.

        Args:
            encoder: The encoder; its weights are not changed.
            batch: G graphs with N nodes, with the extras that ``prepare`` computed for the same seed and epoch.
            seed: Key of the child tasks.
            epoch: Second part of the key.

        Returns:
            Node embeddings [N, width] and graph embeddings [G, width], without gradients.
        """
        tasks, context = TaskBatch(batch), encoder.context(batch)
        if not tasks.usable.numel():
            nodes = encoder(context).detach()
            return nodes, encoder.pool(nodes, batch).detach()
        moved = self.moved_dimensions(encoder, tasks, seed, epoch)
        with torch.enable_grad():
            prior, nodes, _ = self._adapt_nodes(encoder, context, tasks)
            fast, _ = self._adapt_pooling(encoder, context, tasks, prior, moved[0])
        with torch.no_grad():
            nodes = nodes.detach()
            pooled = encoder.pool(nodes, batch)
            if fast is None:
                return nodes, pooled
            own = self._pooled(encoder, tasks, tasks.support, nodes, fast).index_select(0, tasks.graph_row)
            return nodes, pooled.index_copy(0, tasks.usable, own)

    def advice(self, means: dict[str, float]) -> str:
        """See :class:`Objective`."""
        gain = means.get("adaptation_gain", 0.0)
        if gain >= 0:
            return ""
        return (
            f"l2p: adaptation raises the query loss by {-gain:.3g}; lower l2p.node_lr (now {self.config.node_lr:g}), or use"
            " l2p.adapted_layers=1, l2p.support_loss=mean and l2p.scores=scaled"
        )

    def _visible(self, tasks: TaskBatch) -> GraphBatch:
        """Return the batch with only the edges used for message passing."""
        if self.config.messages == "all":
            return tasks.batch
        hidden = [tasks.support.pairs] + ([tasks.query.pairs] if self.config.messages == "no_tasks" else [])
        ids = [
            ends.amin(0) * tasks.batch.num_nodes + ends.amax(0) for ends in (tasks.batch.edges, torch.cat(hidden, 1))
        ]
        return keep_edges(tasks.batch, ~torch.isin(*ids))

    def _adapt_nodes(
        self, encoder: Encoder, context: Context, tasks: TaskBatch
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Adapt psi with s steps on the support edges (Eq. 10).

        Returns:
            Node embeddings under psi and under psi', [N, width] each, and the loss of the first step (None without
            steps).
        """
        first: Tensor | None = None
        steps = self.config.node_steps if self.config.levels != "graph" else 0
        lr, frozen = self._node_lr(encoder), encoder.psi.frozen_layers(self.config.adapted_layers)
        fast = self._fast_weights(context, lr, frozen) if steps else None
        prior = nodes = encoder(context, fast)
        for _ in range(steps):
            if fast is not None:
                share = self._share(tasks, nodes)[tasks.support.graph]
                if self.config.support_loss == "mean":
                    share = share / tasks.support.of_child
                loss = (tasks.support.node_loss(self._scaled(nodes)) * share).sum()
                first = loss.detach() if first is None else first
                fast.step(loss)
            nodes = encoder(context, fast)
        return prior, nodes, first

    def _adapt_pooling(
        self, encoder: Encoder, context: Context, tasks: TaskBatch, nodes: Tensor, moved: Tensor | None
    ) -> tuple[FastWeights | None, Tensor | None]:
        """Return omega' after t steps on the support subgraphs (Eq. 11), and the loss of the first step."""
        if not self.config.graph_steps or self.config.levels == "node":
            return None, None
        first: Tensor | None = None
        fast = self._fast_weights(context, self.config.graph_lr)
        for _ in range(self.config.graph_steps):
            pooled = self._pooled(encoder, tasks, tasks.support, nodes, fast)
            loss = self.graph_loss(pooled, tasks, moved, self._share(tasks, nodes))
            first = loss.detach() if first is None else first
            fast.step(loss)
        return fast, first

    def _inner(self, tasks: TaskBatch, like: Tensor, losses: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return (sum, weight) of the inner losses; the weight counts the adapted sets of weights."""
        if not losses:
            return like.new_zeros(()), like.new_zeros(())
        return torch.stack(losses).sum(), self._share(tasks, like).sum()

    def _node_lr(self, encoder: Encoder) -> float:
        reference = self.config.node_lr_width
        return self.config.node_lr * (reference / encoder.width if reference else 1)

    def _fast_weights(self, context: Context, lr: float, frozen: int = 0) -> FastWeights:
        nodes = context.nodes if self.config.adaptation == "graph" else context.streams
        return FastWeights(nodes, lr, self.config.order, frozen)

    def _scaled(self, x: Tensor) -> Tensor:
        """Scale embeddings [rows, width] so that their dot products are the scores."""
        return x if self.config.scores == "dot" else x * x.shape[1] ** -0.25

    def _share(self, tasks: TaskBatch, like: Tensor) -> Tensor:
        """Return [U]: the weight of each usable graph's loss in the loss of its adaptation."""
        if self.config.adaptation == "graph":
            return like.new_ones(tasks.usable.numel())
        return 1 / tasks.stream_sizes[tasks.stream].to(like.dtype)

    def _pooled(
        self, encoder: Encoder, tasks: TaskBatch, links: EdgeSamples, nodes: Tensor, fast: FastWeights | None
    ) -> Tensor:
        """Return [C + U, width]: embeddings of the child tasks' subgraphs, then of the graphs."""
        rows = tasks.pooled if self.config.adaptation == "graph" else tasks.pooled_by_stream
        return encoder.pooling(nodes, tasks.membership(links), fast, rows)

    def _query_loss(
        self, encoder: Encoder, tasks: TaskBatch, nodes: Tensor, fast: FastWeights | None, moved: Tensor | None
    ) -> Tensor:
        """Return L_graph(omega'; Q) + 1/k sum_c L_node(psi'; Q_c), summed over graphs (Eq. 9), for the selected levels."""
        total = nodes.new_zeros(())
        if self.config.levels != "graph":
            share = 1 / tasks.children.to(nodes.dtype)
            total = total + (tasks.query.node_loss(self._scaled(nodes)) * share[tasks.query.graph]).sum()
        if self.config.levels != "node":
            total = total + self.graph_loss(self._pooled(encoder, tasks, tasks.query, nodes, fast), tasks, moved)
        return total

    def graph_loss(self, out: Tensor, tasks: TaskBatch, moved: Tensor | None, share: Tensor | None = None) -> Tensor:
        """Return sum_c -log sigma(h_Sc . h_G) - log sigma(-h_Sc . h_G'), summed over graphs (Eq. 8).

        Args:
            out: [C + U, width], embeddings of the child tasks' subgraphs and of the graphs.
            tasks: The child tasks.
            moved: int64 [U, width], dimensions of h_G that make up h_G'; None = h_G' is the next graph of the stream.
            share: [U], weights of the graphs; None = 1.
        """
        out = self._scaled(out)
        part, graph = out.index_select(0, tasks.child_row), out.index_select(0, tasks.graph_row)
        other = (
            graph.index_select(0, next_graph(tasks.usable, tasks.batch)) if moved is None else graph.gather(1, moved)
        )
        positive = (part * tasks.of_children(graph)).sum(1)
        negative = (part * tasks.of_children(other)).sum(1)
        each = F.softplus(-positive) + F.softplus(negative)
        return each.sum() if share is None else (each * share[tasks.child_graph]).sum()

    def moved_dimensions(
        self, encoder: Encoder, tasks: TaskBatch, seed: int, epoch: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return for support and query int64 [U, width]: the dimension of h_G for each dimension of h_G'.

        None for negatives=other.
        """
        if self.config.negatives == "other":
            return None, None
        keys = [key(seed, PretrainDraw.DIMENSIONS, epoch, side) for side in (0, 1)]
        support, query = shifted_dimensions(keys, tasks.batch.graph_id[tasks.usable], encoder.width)
        return support, query

    def _report(
        self, total: Tensor, tasks: TaskBatch, gain: Tensor, accuracy: Tensor, inner: tuple[Tensor, Tensor]
    ) -> Losses:
        numbers = tasks.usable.numel(), tasks.batch.num_graphs
        count, graphs = (torch.full((), float(number), device=total.device) for number in numbers)
        sums = {
            "link_accuracy": (accuracy.float() * count, count),
            "adaptation_gain": (gain.float(), count),
            "inner_loss": inner,
            "skipped": (graphs - count, graphs),
        }
        return Losses(total, count, sums)

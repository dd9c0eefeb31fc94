"""Reference implementation of L2P-GNN: every graph has a copy of psi and omega, adapted by autograd, with Python loops.

Shares nothing with distgnn.objectives.l2p.objective but the task rows and the keyed words. Statistics of the norm are taken
within a stream (ghost), everything (batch), a graph or a node; the summed support loss is differentiated with respect to each
copy. With adaptation=batch the graphs of a stream own one copy together, and the loss is the mean over them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch
from distgnn.graph.keyed import draw, key, permutation
from distgnn.graph.purposes import PretrainDraw
from distgnn.models.encoder import Encoder
from distgnn.objectives.l2p.objective import L2PConfig
from tests.helpers.slow_layers import Copy, SlowEncoder, graph_rows, stream_of

Edges = list[tuple[int, int, int]]


def shifted(side: int, graph_id: int, width: int) -> list[int]:
    """The dimension of h_G for each dimension of h_G': a keyed half of them, each replaced by the one drawn before it."""
    chosen = permutation(int(draw(side, graph_id)[0]), width)[: max(width // 2, 2)].tolist()
    moved = list(range(width))
    for number, dimension in enumerate(chosen):
        moved[dimension] = chosen[number - 1]
    return moved


def _tasks(batch: GraphBatch, g: int, query: bool) -> list[Edges]:
    """Child tasks of graph g: lists of (u, v, v' or -1), batch-absolute."""
    extra = batch.extras["l2p"]
    start = int(batch.node_ptr[g])
    rows = extra.values[int(extra.ptr[g]) : int(extra.ptr[g + 1])].tolist()
    children = max((row[3] for row in rows), default=-1) + 1
    wanted = [(r[0] + start, r[1] + start, -1 if r[2] < 0 else r[2] + start, r[3]) for r in rows if bool(r[4]) == query]
    return [[(u, v, n) for u, v, n, c in wanted if c == child] for child in range(children)]


def _visible(batch: GraphBatch, messages: str) -> GraphBatch:
    sides = {"all": [], "no_support": [False], "no_tasks": [False, True]}[messages]
    hidden = {
        frozenset((u, v))
        for side in sides
        for g in range(batch.num_graphs)
        for edges in _tasks(batch, g, side)
        for u, v, _ in edges
    }
    kept = [e for e, (u, v) in enumerate(batch.edges.t().tolist()) if frozenset((u, v)) not in hidden]
    return replace(batch, edges=batch.edges[:, kept], edge_cat=batch.edge_cat[kept], edge_dense=batch.edge_dense[kept])


def _node_loss(h: Tensor, edges: Edges, scale: float) -> Tensor:
    total = h.new_zeros(())
    for u, v, n in edges:
        total = total - torch.nn.functional.logsigmoid(scale * (h[u] @ h[v]))
        if n >= 0:
            total = total - torch.nn.functional.logsigmoid(-scale * (h[u] @ h[n]))
    return total


def _pool(kind: str, rows: Tensor, omega: Copy) -> Tensor:
    if kind == "attention":
        weights = torch.softmax(rows @ omega["gate.weight"][0], 0)
        pooled = sum((w * row for w, row in zip(weights, rows, strict=True)), rows.new_zeros(rows.shape[1]))
    else:
        pooled = rows.mean(0) if kind == "mean" else rows.sum(0)
    return omega["omega.weight"] @ pooled if "omega.weight" in omega else pooled


class Oracle:
    """One batch, one config; ``total`` is the loss."""

    def __init__(self, encoder: Encoder, batch: GraphBatch, config: L2PConfig, seed: int, epoch: int) -> None:
        self.encoder, self.batch, self.config = encoder, batch, config
        self.keys = [key(seed, PretrainDraw.DIMENSIONS, epoch, side) for side in (0, 1)]
        self.usable = [g for g in range(batch.num_graphs) if _tasks(batch, g, True)]
        by_graph = config.adaptation == "graph"
        self.copy_of = [g if by_graph else stream_of(batch, g) for g in range(batch.num_graphs)]
        self.scale = 1 / math.sqrt(encoder.width) if config.scores == "scaled" else 1.0
        self.forward = SlowEncoder(encoder, _visible(batch, config.messages))

    def _mates(self, g: int) -> list[int]:
        return [other for other in self.usable if stream_of(self.batch, other) == stream_of(self.batch, g)]

    def _share(self, g: int) -> float:
        return 1.0 if self.config.adaptation == "graph" else 1 / len(self._mates(g))

    def _copies(self, module: torch.nn.Module) -> list[Copy]:
        return [{n: p * 1.0 for n, p in module.named_parameters()} for _ in range(max(self.copy_of) + 1)]

    def _spread(self, copies: list[Copy]) -> list[Copy]:
        return [copies[c] for c in self.copy_of]

    def _descend(self, copies: list[Copy], lr: float, loss: Callable[[list[Copy]], Tensor]) -> list[Copy]:
        value = loss(self._spread(copies))
        names = [name for name in copies[0] if self._adapts(name)]
        flat = [copy[name] for copy in copies for name in names]
        second = self.config.order == 2
        found = torch.autograd.grad(value, flat, create_graph=second, retain_graph=True, materialize_grads=True)
        grads = iter(found)
        return [{**copy, **{name: copy[name] - lr * next(grads) for name in names}} for copy in copies]

    def _adapts(self, name: str) -> bool:
        adapted, layers = self.config.adapted_layers, self.encoder.config.layers
        return not adapted or not name.startswith("layers.") or int(name.split(".")[1]) >= layers - adapted

    def _support_loss(self, h: Tensor) -> Tensor:
        mean = self.config.support_loss == "mean"
        losses = [
            _node_loss(h, c, self.scale) * self._share(g) / (len(c) if mean else 1)
            for g in self.usable
            for c in _tasks(self.batch, g, False)
        ]
        return sum(losses, h.new_zeros(()))

    def _graph_loss(self, h: Tensor, omega: list[Copy], query: bool, shared: bool) -> Tensor:
        rows, kind, total = graph_rows(self.batch), self.encoder.config.pooling, h.new_zeros(())
        whole = {g: _pool(kind, h[rows[g]], omega[g]) for g in self.usable}
        for g in self.usable:
            if self.config.negatives == "other":
                mates = self._mates(g)
                negative = whole[mates[(mates.index(g) + 1) % len(mates)]]
            else:
                moved = shifted(self.keys[int(query)], int(self.batch.graph_id[g]), self.encoder.width)
                negative = whole[g][moved]
            for edges in _tasks(self.batch, g, query):
                ends = sorted({u for u, _, _ in edges} | {v for _, v, _ in edges})
                part = _pool(kind, h[ends], omega[g])
                loss = torch.nn.functional.logsigmoid(self.scale * (part @ whole[g]))
                loss = loss + torch.nn.functional.logsigmoid(-self.scale * (part @ negative))
                total = total - loss * (self._share(g) if shared else 1.0)
        return total

    def _node_lr(self) -> float:
        reference = self.config.node_lr_width
        return self.config.node_lr * (reference / self.encoder.width if reference else 1)

    def inner(self) -> Tensor:
        """Support losses of both levels before any step, summed over the sets of weights that are adapted."""
        prior = self.forward(self._spread(self._copies(self.encoder.psi)))
        omega = self._spread(self._copies(self.encoder.pooling))
        node = self._support_loss(prior) if self.config.levels != "graph" else 0
        return node + (
            self._graph_loss(prior, omega, False, True) if self.config.levels != "node" else prior.new_zeros(())
        )

    def total(self) -> Tensor:
        """Query loss after adaptation, summed over graphs (Eq. 12)."""
        config = self.config
        psi, omega = self._copies(self.encoder.psi), self._copies(self.encoder.pooling)
        prior = self.forward(self._spread(psi))
        for _ in range(config.node_steps if config.levels != "graph" else 0):
            psi = self._descend(psi, self._node_lr(), lambda copies: self._support_loss(self.forward(copies)))
        h = self.forward(self._spread(psi))
        for _ in range(config.graph_steps if config.levels != "node" and omega[0] else 0):
            omega = self._descend(omega, config.graph_lr, lambda copies: self._graph_loss(prior, copies, False, True))
        total = prior.new_zeros(())
        if config.levels != "node":
            total = total + self._graph_loss(h, self._spread(omega), True, False)
        if config.levels != "graph":
            for g in self.usable:
                children = _tasks(self.batch, g, True)
                total = total + sum((_node_loss(h, edges, self.scale) for edges in children), h.new_zeros(())) / len(
                    children
                )
        return total


def l2p_total(encoder: Encoder, batch: GraphBatch, config: L2PConfig, seed: int, epoch: int) -> Tensor:
    """See :class:`Oracle`."""
    return Oracle(encoder, batch, config, seed, epoch).total()

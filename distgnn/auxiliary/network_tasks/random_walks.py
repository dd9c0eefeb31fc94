"""Auxiliary task: random walks, nodes that a walk joins are similar (GraphSAGE's unsupervised loss; DeepWalk)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn import register
from distgnn.auxiliary.network_tasks.tasks import AuxiliaryTask, NodeQuery, TaskContext, draw_nodes, sample_count
from distgnn.auxiliary.problem import Rows, Samples
from distgnn.config.base import check
from distgnn.config.fields import hyper
from distgnn.errors import RequestError
from distgnn.graph.keyed import below, draw, key
from distgnn.graph.purposes import NetworkDraw
from distgnn.network.network import Network

_PAIRS, _POOL = range(2)
_RELATION, _SENDER, _PLACE = range(3)


@dataclass(frozen=True)
class RandomWalksConfig:
    """Contrast of nodes that random walks join (Hamilton et al., NeurIPS 2017; Perozzi et al., KDD 2014)."""

    moves: int = hyper(40, most=1000)
    """Length of a walk. On papers and authors two moves lead from a paper to another; sparse networks need long walks."""
    temperature: float = hyper(0.5)
    """Temperature of the contrast."""

    def __post_init__(self) -> None:
        check(self.moves >= 1, f"network.random_walks.moves must be at least 1, found {self.moves}")
        good = 0 < self.temperature < float("inf")
        check(good, f"network.random_walks.temperature must be positive, found {self.temperature}")


@register.network_task("random_walks", RandomWalksConfig)
class RandomWalks(AuxiliaryTask):
    """Contrast of nodes that random walks join.

    The unsupervised loss of GraphSAGE (Hamilton et al., NeurIPS 2017, equation 1) as InfoNCE. Each step samples
    ``aux_batch`` nodes of type ``kind`` and a walk from each. The positive is a node of the same type that the walk visits,
    other than its start, each visit with the same probability. Negatives are a keyed pool of ``negatives`` nodes of the
    type per step without the two, so that a sample does not depend on the other samples of a rank. The score is the cosine
    of two embeddings, divided by ``temperature``. Walks that meet no other node of the type are left out.

    Raises:
        RequestError: The target's nodes receive no messages.
    """

    name = "random_walks"

    def __init__(self, config: RandomWalksConfig, context: TaskContext) -> None:
        super().__init__()
        network, kind, shared = context.views.network, context.kind, context.options
        self.config, self.nodes, self.group = config, network.nodes(kind), context.group
        if network.indptr[self.nodes.start] == network.indptr[self.nodes.stop]:
            raise RequestError(f"random_walks: {kind} nodes receive no messages; choose other auxiliary tasks")
        self.walker = Walker(network)
        self.batch, self.negatives = shared.aux_batch, shared.negatives
        self.key = key(context.seed, NetworkDraw.WALKS)

    def query(self, step: int) -> NodeQuery:
        """Return this rank's share of the pairs, and the pool of negatives."""
        step_key = key(self.key, step)
        start = draw_nodes(key(step_key, _PAIRS), self.nodes, self.batch)[self.group.rank :: self.group.world_size]
        met = self.walker.meet(start, self.nodes, self.config.moves, step_key)
        start, met = start[met >= 0], met[met >= 0]
        pool = draw_nodes(key(step_key, _POOL), self.nodes, self.negatives)
        negative = (pool != start[:, None]) & (pool != met[:, None])
        usable = negative.any(axis=1)
        seeds = np.concatenate([start[usable], met[usable], pool])
        return NodeQuery(seeds, torch.from_numpy(negative[usable]).to(self.group.device))

    def samples(self, embedded: Tensor, query: NodeQuery) -> Samples:
        """Return one loss per pair; query.data: bool [pairs, pool], which of the pool are negatives."""
        count, pool = query.data.shape
        start, met, others = F.normalize(embedded, dim=1).split([count, count, pool])
        positive = (start * met).sum(1, keepdim=True) / self.config.temperature
        negative = (start @ others.t() / self.config.temperature).masked_fill(~query.data, -torch.inf)
        losses = torch.logsumexp(torch.cat([positive, negative], dim=1), dim=1) - positive[:, 0]
        return Samples(losses, torch.zeros_like(losses), sample_count(losses))


class Walker:
    """Random walks against the direction of messages: a move leads from a node to a sender of one of its messages.

    The relation is uniform among those of the node's messages, then the sender among those of the relation, so that a
    relation with many messages does not hide another (metapath2vec, Dong et al., KDD 2017, fixes the relations).

    Attributes:
        source: int [M], sender of each message.
        start: int64 [r + 1], first message of each run of messages with one receiver and relation, and M.
        ptr: int64 [N + 1], runs of each node.
    """

    def __init__(self, network: Network) -> None:
        self.source = network.source
        begins = np.zeros(network.num_messages + 1, np.bool_)
        begins[network.indptr] = True
        if len(network.relations) > 1:
            begins[1:-1] |= np.diff(network.relation.astype(np.int32)) != 0
        self.start = np.flatnonzero(begins)
        self.ptr = np.searchsorted(self.start, network.indptr)

    def meet(self, start: Rows, nodes: range, moves: int, key_of_step: int) -> Rows:
        """Walk ``moves`` moves from each node and return one of the ``nodes`` that were visited, other than the start.

        The walk of a node is a function of (key, node). It ends at a node without messages.

        Args:
            start: int64 [n], global ids.
            nodes: The nodes that count.
            moves: Number of moves.
            key_of_step: Key of the walks.

        Returns:
            int64 [n], global ids; -1 if the walk visits none.
        """
        at, met, highest = start, np.full(len(start), -1), np.zeros(len(start), np.uint64)
        for move in range(moves):
            relation, sender, place = (
                draw(key(key_of_step, move, what), start) for what in (_RELATION, _SENDER, _PLACE)
            )
            runs = self.ptr[at + 1] - self.ptr[at]
            moved = runs > 0
            run = np.where(moved, self.ptr[at] + below(relation, runs), 0)
            message = self.start[run] + below(sender, self.start[run + 1] - self.start[run])
            at = np.where(moved, self.source[message], at)
            taken = moved & (at >= nodes.start) & (at < nodes.stop) & (at != start) & (place >= highest)
            met, highest = np.where(taken, at, met), np.where(taken, place, highest)
        return met

"""Auxiliary task: edge generation, predict removed edges by contrast (GPT-GNN, Hu et al., KDD 2020, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn import register
from distgnn.auxiliary.network_tasks.removal import Removal
from distgnn.auxiliary.network_tasks.tasks import AuxiliaryTask, NodeQuery, TaskContext, draw_nodes, sample_count
from distgnn.auxiliary.network_tasks.views import without
from distgnn.auxiliary.problem import Rows, Samples
from distgnn.errors import RequestError
from distgnn.graph.keyed import key
from distgnn.graph.purposes import NetworkDraw
from distgnn.graph.ragged import ranges
from distgnn.models.ops.sparse import SparseMap
from distgnn.network.network import Network

_TEMPERATURE = 0.1


@dataclass(frozen=True)
class _EdgeQuery:
    """Removed messages of one relation.

    Attributes:
        target, source: int64 [p], rows of the embeddings.
        pool: int64 [q], rows of the candidate nodes.
        negative: bool [p, q], which candidates are not neighbours of the target.
    """

    relation: int
    target: Tensor
    source: Tensor
    pool: Tensor
    negative: Tensor


@register.network_task("edge_generation")
class EdgeGeneration(AuxiliaryTask):
    """Predict the sender of removed messages by contrast, InfoNCE (GPT-GNN, KDD 2020, as AUX-TS uses it).

    Negatives are nodes of the sender's type that send the receiver no message of this relation. Each step samples
    ``aux_batch`` nodes of type ``kind`` and removes a share of their edges, in both directions; each removed message is
    a sample. The score is the cosine of a linear map of the receiver's embedding and one of the sender's, separate for
    each relation, divided by 0.1. Negatives are taken from one keyed pool per type and step, so that a sample does not
    depend on the other samples of a rank. Messages without negatives are left out.
    """

    name = "edge_generation"

    def __init__(self, config: None, context: TaskContext) -> None:  # noqa: ARG002
        super().__init__()
        views, kind, shared = context.views, context.kind, context.options
        self.views, self.group, self.nodes = views, context.group, views.network.nodes(kind)
        self.batch, self.negatives, self.seed = shared.aux_batch, shared.negatives, context.seed
        self.removal = Removal(views.network, shared.removed, context.seed)
        relations = views.network.relations
        self.relations = [number for number, relation in enumerate(relations) if relation.target == kind]
        if not self.relations:
            raise RequestError(f"edge_generation: no relation leads to {kind} nodes; choose other auxiliary tasks")
        self.left, self.right = (
            nn.ModuleList(nn.Linear(shared.width, shared.width) for _ in self.relations) for _ in range(2)
        )

    def query(self, step: int) -> NodeQuery:
        """Return this rank's share of the sampled nodes, with all messages removed from them."""
        network = self.views.network
        sampled = draw_nodes(key(self.seed, NetworkDraw.EDGE_NODES, step), self.nodes, self.batch)
        share = sampled[self.group.rank :: self.group.world_size]
        local = self.views.block(share, step, hops=1)
        removed = np.flatnonzero(self.removal(local, sampled, step))
        removed = removed[np.argsort(local.relation[removed], kind="stable")]
        relation = local.relation[removed]
        source, target = local.node[local.source[removed]], local.node[local.target[removed]]
        kinds = {network.relations[number].source for number in self.relations}
        pools = {kind: self._pool(kind, step) for kind in kinds}
        seeds = np.unique(np.concatenate([source, target, *pools.values()]))
        block = self.views.block(seeds, step)
        cut = self.views.cut(without(block, self.removal(block, sampled, step)))
        data = []
        for number in np.unique(relation).tolist():
            some = relation == number
            pool = pools[network.relations[number].source]
            data.append(self._relation_query(number, source[some], target[some], pool, seeds))
        return NodeQuery(seeds, data, cut)

    def _pool(self, kind: str, step: int) -> Rows:
        """Return the ids of the candidate nodes of a type in a step, ascending."""
        place = self.views.network.types.index(kind)
        return np.sort(
            draw_nodes(
                key(self.seed, NetworkDraw.EDGE_POOL, step, place), self.views.network.nodes(kind), self.negatives
            )
        )

    def _relation_query(self, relation: int, source: Rows, target: Rows, pool: Rows, seeds: Rows) -> _EdgeQuery:
        receiver, row = np.unique(target, return_inverse=True)
        negative = ~_are_neighbours(self.views.network, relation, receiver, pool)[row.reshape(-1)]
        usable = negative.any(axis=1)
        columns = (np.searchsorted(seeds, ids) for ids in (target[usable], source[usable], pool))
        target_row, source_row, pool_row = (torch.from_numpy(ids).to(self.group.device) for ids in columns)
        return _EdgeQuery(
            relation, target_row, source_row, pool_row, torch.from_numpy(negative[usable]).to(self.group.device)
        )

    def samples(self, embedded: Tensor, query: NodeQuery) -> Samples:
        """Return one loss per removed message, relation by relation."""
        losses = torch.cat([embedded.new_zeros(0), *(self._losses(embedded, one) for one in query.data)])
        return Samples(losses, torch.zeros_like(losses), sample_count(losses))

    def _losses(self, embedded: Tensor, query: _EdgeQuery) -> Tensor:
        place, rows = self.relations.index(query.relation), embedded.shape[0]
        left, right = self.left[place](embedded), self.right[place](embedded)
        target, source, pool = (
            F.normalize(SparseMap.select(index, rows)(side), dim=1)
            for side, index in ((left, query.target), (right, query.source), (right, query.pool))
        )
        positive = (target * source).sum(1, keepdim=True) / _TEMPERATURE
        others = (target @ pool.t() / _TEMPERATURE).masked_fill(~query.negative, -torch.inf)
        return torch.logsumexp(torch.cat([positive, others], dim=1), dim=1) - positive[:, 0]


def _are_neighbours(network: Network, relation: int, receiver: Rows, pool: Rows) -> npt.NDArray[np.bool_]:
    """Return bool [receivers, q]: which of ``pool`` (ascending) send each receiver a message of the relation."""
    start = network.indptr[receiver]
    degree = network.indptr[receiver + 1] - start
    slot, row = ranges(start, degree), np.repeat(np.arange(len(receiver)), degree)
    if len(network.relations) > 1:
        same = network.relation[slot] == relation
        slot, row = slot[same], row[same]
    source = network.source[slot]
    place = np.minimum(np.searchsorted(pool, source), len(pool) - 1)
    hit = pool[place] == source
    joined = np.zeros((len(receiver), len(pool)), np.bool_)
    joined[row[hit], place[hit]] = True
    return joined

"""Auxiliary task: attribute generation, predict masked node features (GPT-GNN, Hu et al., KDD 2020, section 3.3)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn import register
from distgnn.auxiliary.network_tasks.tasks import AuxiliaryTask, NodeQuery, TaskContext, draw_nodes, sample_count
from distgnn.auxiliary.problem import Samples
from distgnn.errors import RequestError
from distgnn.graph.keyed import key
from distgnn.graph.purposes import NetworkDraw
from distgnn.models.network_encoder import NetworkEncoder

_TEMPERATURE = 0.1


@register.network_task("attribute_generation")
class AttributeGeneration(AuxiliaryTask):
    """Predict the features of masked nodes (GPT-GNN, KDD 2020, as AUX-TS uses it).

    The loss is (1 - cosine of a linear map of the embedding and the features) / 0.1, as published for Reddit. Each step
    samples ``aux_batch`` nodes of type ``kind``; their input is replaced by one learned vector wherever they occur.
    """

    name = "attribute_generation"

    def __init__(self, config: None, context: TaskContext) -> None:  # noqa: ARG002
        super().__init__()
        views, kind, shared = context.views, context.kind, context.options
        if kind not in views.network.features:
            raise RequestError(
                f"attribute_generation: {kind} nodes have no features in this network; choose other auxiliary tasks"
            )
        self.views, self.group, self.nodes = views, context.group, views.network.nodes(kind)
        self.batch, self.key = shared.aux_batch, key(context.seed, NetworkDraw.ATTRIBUTE_NODES)
        self.features = views.network.features[kind]
        self.blank = nn.Parameter(torch.zeros(shared.width))
        self.tell = nn.Linear(shared.width, self.features.shape[1])

    def query(self, step: int) -> NodeQuery:
        """Return this rank's share of the sampled nodes, and the positions of all sampled nodes in its subgraph."""
        sampled = draw_nodes(key(self.key, step), self.nodes, self.batch)
        share = sampled[self.group.rank :: self.group.world_size]
        block = self.views.block(share, step)
        hidden, features = np.isin(block.node, sampled), self.features[share - self.nodes.start]
        data = tuple(torch.from_numpy(array).to(self.group.device) for array in (hidden, features))
        return NodeQuery(share, data, self.views.cut(block))

    def inputs(self, encoder: NetworkEncoder, query: NodeQuery) -> Tensor:
        """Return the nodes' inputs, with those of sampled nodes replaced."""
        if query.cut is None:
            raise ValueError("attribute generation needs its own subgraph")
        hidden, _ = query.data
        return torch.where(hidden.unsqueeze(1), self.blank, encoder.embed(query.cut))

    def samples(self, embedded: Tensor, query: NodeQuery) -> Samples:
        """Return one loss per node."""
        _, features = query.data
        similarity = F.cosine_similarity(self.tell(embedded), features.to(embedded.dtype), dim=1)
        losses = (1 - similarity) / _TEMPERATURE
        return Samples(losses, torch.zeros_like(losses), sample_count(losses))

"""AttrMasking: predict masked node or edge features from node embeddings (Hu et al., ICLR 2020).

Hu et al., "Strategies for pre-training graph neural networks", section 3.1.2. Masked node features are predicted from
the embeddings of the masked nodes, masked edge features from the embeddings of the edges' end nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from distgnn import register
from distgnn.config.base import check
from distgnn.config.fields import hyper
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch
from distgnn.graph.schema import Schema, sizes
from distgnn.models.encoder import Encoder
from distgnn.models.ops.sparse import SparseMap
from distgnn.objectives.base import Losses, Objective, ObjectiveContext
from distgnn.objectives.feature_heads import FeatureReconstructionHead
from distgnn.objectives.masking import NAME, MaskBuilder, Of, hidden_rows
from distgnn.objectives.streams import sum_of_means

Target = Literal["node", "edge", "edge_multilabel"]


@dataclass(frozen=True)
class MaskingConfig:
    """AttrMasking (Hu et al., ICLR 2020, section 3.1.2); also the masking part of the multitask objective."""

    target: Literal["auto", "node", "edge", "edge_multilabel"] = hyper("auto", structural=True)
    """What is masked and predicted: node = all features of nodes; edge = one class per edge (the first categorical
    feature or, without one, the index of the first active channel, as in the published code); edge_multilabel = all
    features of edges, with one binary label per dense channel; auto = node if the corpus has node features, else
    edge_multilabel.
    """
    rate: float = hyper(0.15)
    """Fraction of nodes or edges that are masked; at least one in each graph that has any."""

    def __post_init__(self) -> None:
        check(0 < self.rate < 1, f"attrmasking.rate must lie in (0, 1), found {self.rate}")


@register.objective("attrmasking", MaskingConfig)
class AttrMasking(Objective):
    """Predict masked node or edge features (Hu et al., ICLR 2020).

    The loss of a graph is the mean loss of a :class:`FeatureReconstructionHead` over its masked nodes or edges.

    Target ``node``: the input of masked nodes is replaced by a learned token. The loss is cross-entropy for categorical
    features and squared error for dense features.
    Target ``edge``: masked edges lose their attributes. One class is predicted: the first categorical feature or, if
    all features are dense, the index of the first active channel (value > 0; 0 if none is active), as in the published
    code for proteins.
    Target ``edge_multilabel``: every categorical feature is predicted, and every dense channel as a binary label
    (value > 0).

    The metric ``skipped`` is the share of graphs without anything to mask.
    """

    metric_names = ("mask_accuracy", "skipped")

    def __init__(self, config: MaskingConfig, context: ObjectiveContext) -> None:
        super().__init__()
        schema, width = context.schema, context.width
        self.target = choose_target(config, schema)
        self.of: Of = "node" if self.target == "node" else "edge"
        self.prepare = MaskBuilder(self.of, config.rate)
        self.token = nn.Parameter(torch.zeros(width)) if self.of == "node" else None
        features = schema.node if self.of == "node" else schema.edge
        classes, numbers = sizes(features, "categorical"), sizes(features, "dense")
        if self.target == "edge":
            classes, numbers = (classes or [sum(numbers)])[:1], []
        self.recovery = FeatureReconstructionHead(classes, numbers, width, channels=self.of == "edge")

    def losses(self, encoder: Encoder, batch: GraphBatch, seed: int, epoch: int) -> Losses:  # noqa: ARG002
        """Return the losses, summed over graphs with masked nodes or edges."""
        return self.of_nodes(self.encode(encoder, batch), batch)

    def encode(self, encoder: Encoder, batch: GraphBatch) -> Tensor:
        """Return node embeddings [N, width], computed without the masked features."""
        size = batch.num_nodes if self.of == "node" else batch.num_edges
        hidden = torch.zeros(size, dtype=torch.bool, device=batch.edges.device)
        hidden[hidden_rows(batch, self.of)] = True
        if self.token is None:
            return encoder(encoder.context(batch, hidden))
        return encoder(batch, inputs=torch.where(hidden.unsqueeze(1), self.token, encoder.embed(batch)))

    def of_nodes(self, nodes: Tensor, batch: GraphBatch) -> Losses:
        """Return the losses for node embeddings [N, width] from :meth:`encode`."""
        ptr, hidden = batch.extras[NAME].ptr, hidden_rows(batch, self.of)
        recovered = self.recovery(self._read(nodes, batch, hidden), *self._truth(batch, hidden))
        total = sum_of_means(recovered.loss, ptr)
        count = (ptr.diff() > 0).sum().float()
        graphs, predicted = torch.full_like(count, batch.num_graphs), torch.full_like(count, recovered.predicted)
        return Losses(
            total, count, {"mask_accuracy": (recovered.correct, predicted), "skipped": (graphs - count, graphs)}
        )

    def _read(self, nodes: Tensor, batch: GraphBatch, hidden: Tensor) -> Tensor:
        """Return [M, width]: the embeddings of masked nodes, or the sums of the embeddings of masked edges' end nodes."""
        if self.of == "node":
            return SparseMap.select(hidden, batch.num_nodes)(nodes)
        every = torch.arange(hidden.numel(), device=hidden.device)
        ends = batch.edges[:, hidden].flatten()
        return SparseMap.from_pairs(every.repeat(2), ends, (hidden.numel(), batch.num_nodes))(nodes)

    def _truth(self, batch: GraphBatch, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the targets: categories [M, C] and dense values [M, D]."""
        if self.target == "node":
            return batch.node_cat[hidden], batch.node_dense[hidden]
        cat, dense = batch.edge_cat[hidden], batch.edge_dense[hidden]
        if self.target == "edge_multilabel":
            return cat, dense
        first = cat[:, :1] if cat.shape[1] else (dense > 0).byte().argmax(1, keepdim=True)
        return first, dense[:, :0]


def choose_target(config: MaskingConfig, schema: Schema) -> Target:
    """Resolve the target for a corpus of ``schema``.

    Raises:
        RequestError: The corpus has no such features.
    """
    if not schema.node and not schema.edge:
        raise RequestError(
            "attrmasking: the corpus has no node or edge features to mask; choose edgepred, infomax, contextpred or structure"
        )
    if config.target == "auto":
        return "node" if schema.node else "edge_multilabel"
    features, other = (schema.node, "edge") if config.target == "node" else (schema.edge, "node")
    if not features:
        raise RequestError(
            f"attrmasking.target={config.target}: the corpus has {other} features only; set attrmasking.target=auto"
        )
    return config.target

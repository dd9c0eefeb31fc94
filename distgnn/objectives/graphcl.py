"""GraphCL: contrastive learning of two augmented views of each graph (You et al., NeurIPS 2020).

You et al., "Graph contrastive learning with augmentations". Two views (see :mod:`distgnn.objectives.augmentations`) are
embedded and projected by a small network to z and z'. The loss of a graph n is the mean over both directions of
    -ln(exp(sim(z_n, z'_n) / T) / sum over the other graphs m of the stream of exp(sim(z_n, z'_m) / T))
with sim the cosine similarity (NT-Xent). A graph alone in its stream has no negatives and is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn import register
from distgnn.config.base import check
from distgnn.config.fields import hyper
from distgnn.graph.batch import GraphBatch
from distgnn.models.encoder import Encoder
from distgnn.objectives.augmentations import VIEWS, Augmenter, views_of
from distgnn.objectives.base import Losses, Objective, ObjectiveContext
from distgnn.objectives.streams import stream_sizes


@dataclass(frozen=True)
class ContrastConfig:
    """Contrast of two augmented views (You et al., "GraphCL", NeurIPS 2020); rate and temperature as published."""

    augmentations: tuple[str, ...] = hyper(("drop_nodes", "perturb_edges", "mask_attributes", "subgraph"))
    """Augmentations to sample from, one per view of each graph: drop_nodes, perturb_edges, mask_attributes, subgraph."""
    rate: float = hyper(0.2)
    """Fraction of nodes, edges or attributes that an augmentation changes."""
    temperature: float = hyper(0.1)
    """Temperature of the NT-Xent loss."""

    def __post_init__(self) -> None:
        known = ("drop_nodes", "perturb_edges", "mask_attributes", "subgraph")
        bad = [name for name in self.augmentations if name not in known]
        check(not bad, f"graphcl.augmentations: {bad[:1]} is none of {', '.join(known)}")
        check(bool(self.augmentations), "graphcl.augmentations must name at least one augmentation")
        check(0 < self.rate < 1, f"graphcl.rate must lie in (0, 1), found {self.rate}")
        check(self.temperature > 0, f"graphcl.temperature must be positive, found {self.temperature}")


@register.objective("graphcl", ContrastConfig)
class GraphCL(Objective):
    """Contrast two augmented views of each graph (You et al., NeurIPS 2020).

    See the module docstring. Losses are sums over graphs that are not alone in their stream. Metrics:
    ``contrast_accuracy``, the share of views whose most similar view is the other view of the same graph; ``skipped``,
    the share of graphs alone in their stream.

    Attributes:
        token: [width], the input of masked nodes.
        project: The projection network.
    """

    metric_names = ("contrast_accuracy", "skipped")

    def __init__(self, config: ContrastConfig, context: ObjectiveContext) -> None:
        super().__init__()
        width = context.width
        self.temperature = config.temperature
        self.prepare = Augmenter(config.augmentations, config.rate)
        self.token = nn.Parameter(torch.zeros(width))
        self.project = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def losses(self, encoder: Encoder, batch: GraphBatch, seed: int, epoch: int) -> Losses:  # noqa: ARG002
        """Return the losses, summed over graphs that are not alone in their stream."""
        sizes = stream_sizes(batch)
        views = [self._embed(encoder, *view).split(sizes) for view in views_of(batch)]
        pairs = [self._contrast(*pair) for pair, size in zip(zip(*views, strict=True), sizes, strict=True) if size > 1]
        none = batch.node_ptr.new_zeros(2, dtype=torch.float32)
        total, correct = torch.stack([none, *pairs]).sum(0)
        graphs = torch.full((), float(batch.num_graphs), device=none.device)
        count = torch.full_like(graphs, sum(size for size in sizes if size > 1))
        sums = {"contrast_accuracy": (correct.detach(), VIEWS * count), "skipped": (graphs - count, graphs)}
        return Losses(total, count, sums)

    def _embed(self, encoder: Encoder, graphs: GraphBatch, hidden: Tensor) -> Tensor:
        """Return [G, width]: normalised projections of the graph embeddings, in single precision or better."""
        inputs = torch.where(hidden.unsqueeze(1), self.token, encoder.embed(graphs))
        projected = self.project(encoder.pool(encoder(graphs, inputs=inputs), graphs))
        return F.normalize(projected.to(torch.promote_types(projected.dtype, torch.float32)))

    def _contrast(self, first: Tensor, second: Tensor) -> Tensor:
        """Return one tensor [2]: the loss summed over a stream's graphs, and the number of correctly matched rows."""
        with torch.autocast(first.device.type, enabled=False):  # bfloat16 is too coarse for similarities divided by T
            similar = first @ second.t() / self.temperature
        same = similar.diagonal()
        others = similar.masked_fill(torch.eye(len(similar), dtype=torch.bool, device=similar.device), -torch.inf)
        loss = (others.logsumexp(0) + others.logsumexp(1)) / 2 - same
        correct = (same > others.amax(0)).sum() + (same > others.amax(1)).sum()
        return torch.stack([loss.sum(), correct.to(loss.dtype)])

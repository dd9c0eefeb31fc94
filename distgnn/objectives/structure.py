"""Structure prediction: regress structural properties of nodes from their embeddings.

The node property task of Jin et al. ("Self-supervised learning on graphs: deep insights and new direction", 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from distgnn import register
from distgnn.config.base import check
from distgnn.config.fields import hyper
from distgnn.graph.batch import GraphBatch, Ragged
from distgnn.graph.properties import Floats, clustering, degree, neighbours
from distgnn.models.encoder import Encoder
from distgnn.objectives.base import Losses, Objective, ObjectiveContext
from distgnn.objectives.streams import sum_of_means

NAME = "structure"


def _log_degree(joined: csr_array) -> Floats:
    return np.log1p(degree(joined))


PROPERTIES = {"degree": _log_degree, "clustering": clustering}


@dataclass(frozen=True)
class PropertyBuilder:
    """Computes the extra ``structure``: float32 [N, len(names)], the named properties of every node."""

    names: tuple[str, ...]

    def __call__(self, graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:  # noqa: ARG002
        """Return the extras: a function of the graphs only."""
        joined = neighbours(graphs)
        columns = [PROPERTIES[name](joined) for name in self.names]
        return {NAME: Ragged(torch.from_numpy(np.stack(columns, axis=1, dtype=np.float32)), graphs.node_ptr)}


@dataclass(frozen=True)
class StructureConfig:
    """Prediction of structural properties of nodes (Jin et al., 2020)."""

    properties: tuple[str, ...] = hyper(("degree", "clustering"), structural=True)
    """Properties to predict: degree (log(1 + degree)), clustering (local clustering coefficient)."""

    def __post_init__(self) -> None:
        bad = [name for name in self.properties if name not in ("degree", "clustering")]
        check(not bad, f"structure.properties: {bad[:1]} is none of degree, clustering")
        check(bool(self.properties), "structure.properties must name at least one property")
        check(len(set(self.properties)) == len(self.properties), "structure.properties names a property twice")


@register.objective("structure", StructureConfig)
class Structure(Objective):
    """Predict structural properties of nodes by regression (Jin et al., 2020).

    The loss of a graph is the mean squared error over its nodes and properties. The properties are log(1 + degree) and
    the local clustering coefficient, see :mod:`distgnn.graph.properties`. Metrics: the mean absolute error of each
    property.
    """

    def __init__(self, config: StructureConfig, context: ObjectiveContext) -> None:
        super().__init__()
        self.prepare = PropertyBuilder(config.properties)
        self.metric_names = tuple(f"{name}_error" for name in config.properties)
        self.head = nn.Linear(context.width, len(config.properties))

    def losses(self, encoder: Encoder, batch: GraphBatch, seed: int, epoch: int) -> Losses:  # noqa: ARG002
        """Return the losses, summed over graphs with nodes."""
        truth = batch.extras[NAME].values.to(self.head.weight.dtype)
        error = self.head(encoder(batch)).to(truth.dtype) - truth
        total = sum_of_means(error.square().mean(1), batch.node_ptr)
        count = (batch.node_ptr.diff() > 0).sum().float()
        return Losses(total, count, self._sums(error.detach()))

    def _sums(self, error: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        nodes = torch.tensor(float(error.shape[0]), device=error.device)
        return {name: (value, nodes) for name, value in zip(self.metric_names, error.abs().sum(0), strict=True)}

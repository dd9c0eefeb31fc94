"""Readout by each graph's own adapted weights: adapt to the graph, then embed it, as L2P-GNN's pre-training does."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from distgnn.graph.batch import GraphBatch
from distgnn.models.encoder import Encoder
from distgnn.objectives.l2p.objective import L2P, L2PConfig


class AdaptedReadout:
    """Embeds graphs by psi' and omega', adapted to child tasks of their own edges; see :data:`distgnn.models.heads.Readout`.

    The tasks of a graph are a function of (seed, graph id, stored edges). Labels are not read.

    Args:
        config: Options of the inner steps, usually those of the pre-training.
        seed: Key of the child tasks.
    """

    def __init__(self, config: L2PConfig, seed: int) -> None:
        self.objective = L2P(replace(config, order=1))  # the order changes gradients, not embeddings
        self.seed = seed

    def __call__(self, encoder: Encoder, batch: GraphBatch) -> tuple[Tensor, Tensor]:
        """Return node embeddings [N, width] and graph embeddings [G, width]."""
        host = batch.to("cpu")
        prepared = replace(host, extras=self.objective.prepare(host, self.seed, 0)).to(encoder.device)
        return self.objective.adapted_embeddings(encoder, prepared, self.seed, 0)

"""Pooling: node embeddings of any groups of nodes to one embedding each (L2P-GNN Eq. 2: Omega(omega; H))."""

from __future__ import annotations

from torch import Tensor, nn

from distgnn.config import EncoderConfig
from distgnn.models.fast_weights import AdaptiveLinear, FastWeights
from distgnn.models.ops.segments import Rows
from distgnn.models.ops.sparse import SparseMap


class Pooling(nn.Module):
    """Mean, sum or attention over a group's nodes, then the matrix omega if the config has it.

    attention: weights softmax(a . h_i) over the group's nodes (Li et al., "Gated graph sequence neural networks", ICLR 2016,
    Eq. 7, without the transform). All its parameters are omega of the paper: the graph level adapts them.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.kind = config.pooling
        self.gate = AdaptiveLinear(config.width, 1, bias=False) if config.pooling == "attention" else None
        self.omega = AdaptiveLinear(config.width, config.width, bias=False) if config.omega else None

    def forward(
        self, nodes: Tensor, members: SparseMap, fast: FastWeights | None = None, rows: Rows | None = None
    ) -> Tensor:
        """[groups, width] from nodes [N, width]; ``members`` is a map [groups, N] of ones.

        With ``fast``, each graph's groups see that graph's adapted parameters; rows: which graph each group belongs to.
        """
        pooled = self.readout(nodes, members, fast)
        return pooled if self.omega is None else self.omega(pooled, fast, rows)

    def readout(self, nodes: Tensor, members: SparseMap, fast: FastWeights | None = None) -> Tensor:
        """The same before omega."""
        if self.gate is not None:
            return self._attend(nodes, self.gate(nodes, fast), members)
        total = members(nodes)
        return total / members.row_counts.clamp(min=1).to(nodes.dtype) if self.kind == "mean" else total

    def _attend(self, nodes: Tensor, scores: Tensor, members: SparseMap) -> Tensor:
        pairs = Rows(members.matrix.crow_indices())  # (group, node) pairs, grouped by group
        pick = SparseMap.select(members.matrix.col_indices(), nodes.shape[0])
        return pairs.sum(pick(nodes) * pairs.softmax(pick(scores)))

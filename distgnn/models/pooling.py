"""Pooling: node embeddings of any groups of nodes to one embedding each (L2P-GNN Eq. 2: Omega(omega; H))."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from distgnn import register
from distgnn.config import EncoderConfig
from distgnn.models.fast_weights import AdaptiveLinear, FastWeights
from distgnn.models.ops.segments import Segments
from distgnn.models.ops.sparse import SparseMap


class Pooling(nn.Module):
    """A readout of each group's nodes, then the matrix omega if the config has it.

    A new pooling overrides ``readout``, and ``build`` if it has parameters. All of them are omega of the paper: the graph
    level adapts those of the modules in :mod:`distgnn.models.fast_weights`.
    """

    def __init__(self, config: EncoderConfig, own: Any = None) -> None:
        """own: the pooling's own options, an instance of the dataclass it is registered with."""
        super().__init__()
        self.build(config, own)
        self.omega = AdaptiveLinear(config.width, config.width, bias=False) if config.omega else None

    def build(self, config: EncoderConfig, own: Any) -> None:
        """Make the parameters of the readout; called before omega is made."""

    def forward(
        self, nodes: Tensor, members: SparseMap, fast: FastWeights | None = None, rows: Segments | None = None
    ) -> Tensor:
        """[groups, width] from nodes [N, width]; ``members`` is a map [groups, N] of ones.

        With ``fast``, each graph's groups see that graph's adapted parameters; rows: which graph each group belongs to.
        """
        pooled = self.readout(nodes, members, fast)
        return pooled if self.omega is None else self.omega(pooled, fast, rows)

    def readout(self, nodes: Tensor, members: SparseMap, fast: FastWeights | None = None) -> Tensor:
        """The same before omega."""
        raise NotImplementedError


@register.pooling("sum")
class SumPooling(Pooling):
    """Sum over a group's nodes."""

    def readout(self, nodes: Tensor, members: SparseMap, fast: FastWeights | None = None) -> Tensor:  # noqa: ARG002
        """[groups, width]."""
        return members(nodes)


@register.pooling("mean")
class MeanPooling(Pooling):
    """Mean over a group's nodes."""

    def readout(self, nodes: Tensor, members: SparseMap, fast: FastWeights | None = None) -> Tensor:  # noqa: ARG002
        """[groups, width]."""
        return members(nodes) / members.row_counts.clamp(min=1).to(nodes.dtype)


@register.pooling("attention")
class AttentionPooling(Pooling):
    """Weights softmax(a . h_i) over a group's nodes.

    Li et al., "Gated graph sequence neural networks", ICLR 2016, Eq. 7, without the transform.
    """

    def build(self, config: EncoderConfig, own: Any) -> None:  # noqa: ARG002
        """The vector a."""
        self.gate = AdaptiveLinear(config.width, 1, bias=False)

    def readout(self, nodes: Tensor, members: SparseMap, fast: FastWeights | None = None) -> Tensor:
        """[groups, width]."""
        pairs = Segments(members.matrix.crow_indices())  # (group, node) pairs, grouped by group
        pick = SparseMap.select(members.matrix.col_indices(), nodes.shape[0])
        return pairs.sum(pick(nodes) * pairs.softmax(pick(self.gate(nodes, fast))))


def build_pooling(config: EncoderConfig) -> Pooling:
    """Build the pooling ``config.pooling``; RequestError for an unknown one."""
    entry = register.pooling.get(config.pooling, "encoder.pooling")
    return entry.make(config, getattr(config, entry.name) if entry.config else None)

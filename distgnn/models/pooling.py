"""Pooling of node embeddings to one embedding per group of nodes (L2P-GNN Eq. 2: Omega(omega; H))."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from distgnn import register
from distgnn.config import EncoderConfig
from distgnn.models.fast_weights import AdaptiveLinear, FastWeights
from distgnn.models.ops.segments import Segments
from distgnn.models.ops.sparse import SparseMap


class Pooling(nn.Module):
    """Base class of poolings: a readout of each group's nodes, then the matrix omega if the config enables it.

    Subclasses implement ``readout``, and ``build`` if it has parameters. All parameters are omega of the paper; those of modules in
    :mod:`distgnn.models.fast_weights` are adapted at graph level.
    """

    def __init__(self, config: EncoderConfig, own: Any = None) -> None:
        """Create the pooling.

        Args:
            config: Options of the encoder.
            own: Options of the pooling, an instance of the dataclass that it is registered with.
        """
        super().__init__()
        self.build(config, own)
        self.omega = AdaptiveLinear(config.width, config.width, bias=False) if config.omega else None

    def build(self, config: EncoderConfig, own: Any) -> None:
        """Create the parameters of the readout; called before omega is created."""

    def forward(
        self, nodes: Tensor, members: SparseMap, fast: FastWeights | None = None, rows: Segments | None = None
    ) -> Tensor:
        """Pool nodes.

        Args:
            nodes: [N, width].
            members: Map [groups, N] of ones.
            fast: Parameters adapted per graph; None = shared parameters.
            rows: Graph of each group, for ``fast``.

        Returns:
            [groups, width].
        """
        pooled = self.readout(nodes, members, fast)
        return pooled if self.omega is None else self.omega(pooled, fast, rows)

    def readout(self, nodes: Tensor, members: SparseMap, fast: FastWeights | None = None) -> Tensor:
        """Pool without omega, [N, width] -> [groups, width]."""
        raise NotImplementedError


@register.pooling("sum")
class SumPooling(Pooling):
    """Sum over the nodes of a group."""

    def readout(self, nodes: Tensor, members: SparseMap, fast: FastWeights | None = None) -> Tensor:  # noqa: ARG002
        """See :class:`Pooling`."""
        return members(nodes)


@register.pooling("mean")
class MeanPooling(Pooling):
    """Mean over the nodes of a group."""

    def readout(self, nodes: Tensor, members: SparseMap, fast: FastWeights | None = None) -> Tensor:  # noqa: ARG002
        """See :class:`Pooling`."""
        return members(nodes) / members.row_counts.clamp(min=1).to(nodes.dtype)


@register.pooling("attention")
class AttentionPooling(Pooling):
    """Sum over the nodes of a group, weighted by softmax(a . h_i).

    Li et al., "Gated graph sequence neural networks", ICLR 2016, Eq. 7, without the transform.
    """

    def build(self, config: EncoderConfig, own: Any) -> None:  # noqa: ARG002
        """Create the vector a."""
        self.gate = AdaptiveLinear(config.width, 1, bias=False)

    def readout(self, nodes: Tensor, members: SparseMap, fast: FastWeights | None = None) -> Tensor:
        """See :class:`Pooling`."""
        columns = members.matrix.col_indices()
        pairs = Segments(members.matrix.crow_indices(), columns.numel())  # (group, node) pairs, grouped by group
        pick = SparseMap.select(columns, nodes.shape[0])
        return pairs.sum(pick(nodes) * pairs.softmax(pick(self.gate(nodes, fast))))


def build_pooling(config: EncoderConfig) -> Pooling:
    """Build the pooling ``config.pooling``; RequestError for an unknown one."""
    entry = register.pooling.get(config.pooling, "encoder.pooling")
    return entry.make(config, getattr(config, entry.name) if entry.config else None)

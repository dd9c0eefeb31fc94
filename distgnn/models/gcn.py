"""GCN (Kipf and Welling, "Semi-supervised classification with graph convolutional networks", ICLR 2017) with edge attributes."""

from __future__ import annotations

from torch import Tensor

from distgnn import register
from distgnn.config import EncoderConfig
from distgnn.models.batch_context import Context
from distgnn.models.fast_weights import AdaptiveLinear, FastWeights
from distgnn.models.layer import Layer
from distgnn.models.norm import Norm, bias_before


@register.encoder("gcn")
class GCNLayer(Layer):
    """h_i = norm(W sum_j c_ij (x_j + W_e a_ij + b_e) + b), c = D^-1/2 (A + I) D^-1/2; no norm in the last layer.

    A node's message to itself has no edge attributes.

    Args:
        config: width and norm.
        edge_width: as in :class:`GINLayer`.
        last: whether this is the last layer.
    """

    def __init__(self, config: EncoderConfig, edge_width: int, last: bool) -> None:
        super().__init__(config, edge_width, last)
        width, norm = config.width, "none" if last else config.norm
        self.edge = AdaptiveLinear(edge_width, width, bias=False) if edge_width else None
        self.linear = AdaptiveLinear(width, width, bias=bias_before(norm))
        self.norm = Norm(width, norm)

    def forward(self, x: Tensor, context: Context, fast: FastWeights | None = None) -> Tensor:
        """Apply the layer, [N, width] -> [N, width]."""
        total = context.neighbours("gcn")(x)
        if self.edge is not None:
            total = total + self.edge(context.edge_sums("gcn"), fast)
        return self.norm(self.linear(total, fast), context, fast)

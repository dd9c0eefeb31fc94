"""GraphSAGE (Hamilton et al., "Inductive representation learning on large graphs", NeurIPS 2017), mean aggregation."""

from __future__ import annotations

import torch
from torch import Tensor

from distgnn import register
from distgnn.config import EncoderConfig
from distgnn.models.batch_context import Context
from distgnn.models.fast_weights import AdaptiveLinear, FastWeights
from distgnn.models.layer import Layer
from distgnn.models.norm import Norm, bias_before


@register.encoder("sage")
class SAGELayer(Layer):
    """h_i = norm(W [mean_j (x_j + W_e a_ij + b_e); x_i] + b); no norm in the last layer, no L2 normalisation of rows.

    The mean is 0 for a node without neighbours.

    Args:
        config: width and norm.
        edge_width: as in :class:`GINLayer`.
        last: whether this is the last layer.
    """

    def __init__(self, config: EncoderConfig, edge_width: int, last: bool) -> None:
        super().__init__(config, edge_width, last)
        width, norm = config.width, "none" if last else config.norm
        self.edge = AdaptiveLinear(edge_width, width, bias=False) if edge_width else None
        self.linear = AdaptiveLinear(2 * width, width, bias=bias_before(norm))
        self.norm = Norm(width, norm)

    def forward(self, x: Tensor, context: Context, fast: FastWeights | None = None) -> Tensor:
        """Apply the layer, [N, width] -> [N, width]."""
        mean = context.neighbours("mean")(x)
        if self.edge is not None:
            mean = mean + self.edge(context.edge_sums("mean"), fast)
        return self.norm(self.linear(torch.cat([mean, x], dim=1), fast), context, fast)

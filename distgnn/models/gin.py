"""GIN (Xu et al., "How powerful are graph neural networks?", ICLR 2019) with edge attributes as in Hu et al. (ICLR 2020)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from distgnn import register
from distgnn.config import EncoderConfig
from distgnn.models.batch_context import Context
from distgnn.models.fast_weights import AdaptiveLinear, FastWeights
from distgnn.models.layer import Layer
from distgnn.models.norm import Norm, bias_before


@register.encoder("gin")
class GINLayer(Layer):
    """h_i = MLP(x_i + sum over neighbours j of (x_j + W_e a_ij + b_e)); MLP = linear, norm, ReLU, linear.

    Args:
        config: width and norm.
        edge_width: number of columns of ``Context.edge_sums`` (attributes and the message count, which multiplies b_e);
            0 ignores edge attributes.
        last: not used; the norm is inside the MLP.
    """

    def __init__(self, config: EncoderConfig, edge_width: int, last: bool) -> None:
        super().__init__(config, edge_width, last)
        width = config.width
        self.edge = AdaptiveLinear(edge_width, width, bias=False) if edge_width else None
        self.lift = AdaptiveLinear(width, 2 * width, bias=bias_before(config.norm))
        self.norm = Norm(2 * width, config.norm)
        self.project = AdaptiveLinear(2 * width, width)

    def forward(self, x: Tensor, context: Context, fast: FastWeights | None = None) -> Tensor:
        """Apply the layer, [N, width] -> [N, width]."""
        total = x + context.neighbours("sum")(x)
        if self.edge is not None:
            total = total + self.edge(context.edge_sums("sum"), fast)
        hidden = self.norm(self.lift(total, fast), context, fast)
        return self.project(F.relu(hidden), fast)

"""GAT (Velickovic et al., "Graph attention networks", ICLR 2018) with edge attributes, heads averaged."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn import register
from distgnn.config import EncoderConfig
from distgnn.models.batch_context import Context
from distgnn.models.fast_weights import AdaptiveLinear, AdaptiveShift, FastWeights
from distgnn.models.layer import Layer
from distgnn.models.norm import Norm, bias_before
from distgnn.models.ops.segments import Segments

_SLOPE = 0.2


@register.encoder("gat")
class GATLayer(Layer):
    """h_i = norm(1/H sum_h sum_j alpha_ij^h (W^h x_j + W_e^h a_ij) + b) over neighbours j and i itself; no norm in the last layer.

    alpha_i^h = softmax_j(LeakyReLU(s^h . W^h x_j + t^h . W^h x_i + u^h . a_ij)). All parameters can be adapted per graph,
    the attention vectors s, t and u included. A node's message to itself has no edge attributes.

    Args:
        config: width, heads and norm.
        edge_width: as in :class:`GINLayer`.
        last: whether this is the last layer.
    """

    def __init__(self, config: EncoderConfig, edge_width: int, last: bool) -> None:
        super().__init__(config, edge_width, last)
        width, heads, norm = config.width, config.heads, "none" if last else config.norm
        self.heads = heads
        self.linear = AdaptiveLinear(width, heads * width, bias=False)
        self.score = AdaptiveScore(heads, width)
        self.edge_score = AdaptiveLinear(edge_width, heads, bias=False) if edge_width else None
        self.edge = AdaptiveLinear(heads * edge_width, width, bias=False) if edge_width else None
        self.shift = AdaptiveShift(width) if bias_before(norm) else None
        self.norm = Norm(width, norm)

    def forward(self, x: Tensor, context: Context, fast: FastWeights | None = None) -> Tensor:
        """Apply the layer, [N, width] -> [N, width]."""
        attention = context.attention
        values = self.linear(x, fast)
        from_source, from_target = self.score(values, fast).chunk(2, dim=1)
        scores = attention.source(from_source) + attention.incoming.expand(from_target)
        if self.edge_score is not None:
            rows = None if fast is None else attention.grouped(fast.nodes)
            scores = scores + self.edge_score(attention.attributes, fast, rows)
        weights = attention.weights(F.leaky_relu(scores, _SLOPE)) / self.heads
        y = attention.weighted_sum(weights, values)
        if self.edge is not None:
            weighted = weights.unsqueeze(2) * attention.attributes.unsqueeze(1)
            y = y + self.edge(attention.incoming.sum(weighted.flatten(1)), fast)
        y = y if self.shift is None else self.shift(y, fast)
        return self.norm(y, context, fast)


class AdaptiveScore(nn.Module):
    """Products of each head's values with its source and target attention vectors, which can be adapted per graph."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, heads, width))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor, fast: FastWeights | None = None) -> Tensor:
        """Score values, [N, heads * width] -> [N, 2 * heads]: all heads as source, then as target."""
        heads = self.weight.shape[1]
        y = torch.einsum("nhd,khd->nkh", x.unflatten(1, (heads, -1)), self.weight).flatten(1)
        return y if fast is None else fast.adapted(self, fast.nodes, x, y, _ScoreUpdate)


class _ScoreUpdate:
    """Change of the attention vectors: [B, 2, heads, width] for each size class of graphs."""

    def __init__(self, rows: Segments, x: Tensor, delta: Tensor) -> None:
        heads = delta.shape[1] // 2
        padded = zip(rows.padding.pad(x), rows.padding.pad(delta), strict=True)
        self.change = [
            torch.einsum("blkh,blhd->bkhd", d.unflatten(2, (2, heads)), v.unflatten(2, (heads, -1))) for v, d in padded
        ]

    def apply(self, rows: Segments, x: Tensor) -> Tensor:
        """Return the change of the scores, [N, heads * width] -> [N, 2 * heads]."""
        padded = zip(rows.padding.pad(x), self.change, strict=True)
        parts = [torch.einsum("blhd,bkhd->blkh", v.unflatten(2, (c.shape[2], -1)), c).flatten(2) for v, c in padded]
        return rows.padding.unpad(parts)

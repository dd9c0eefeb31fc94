"""LightGCN (He et al., "LightGCN: simplifying and powering graph convolution network for recommendation", SIGIR 2020)."""

from __future__ import annotations

from torch import Tensor

from distgnn import register
from distgnn.config import NetworkTaskConfig
from distgnn.models.batch_context import Context
from distgnn.models.dropout import Masks
from distgnn.models.fast_weights import FastWeights
from distgnn.models.layer import Psi
from distgnn.network.network import Network


@register.network_encoder("lightgcn")
class LightGCN(Psi):
    """The mean of A^l x over l = 0..layers, without weights and activations.

    A = D^-1/2 (edges + I) D^-1/2, over all types and relations; the published one has no loops, for which the mean makes up.

    Args:
        network: Not used.
        config: Number of layers.

    Raises:
        RequestError: An option of message passing layers is set.
    """

    def __init__(self, network: Network, config: NetworkTaskConfig) -> None:  # noqa: ARG002
        super().__init__()
        config.refuse_layer_options()
        self.layers = config.layers

    def forward(self, x: Tensor, context: Context, fast: FastWeights | None, masks: Masks | None) -> Tensor:  # noqa: ARG002
        """Apply the layers, [N, width] -> [N, width]."""
        total = x
        for number in range(1, self.layers + 1):
            x = context.neighbours("gcn")(x)
            if masks is not None:
                x = masks.drop(x, number)
            total = total + x
        return total / (self.layers + 1)

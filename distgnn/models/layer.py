"""Interfaces of encoders: psi, which maps embedded inputs to node embeddings, and message passing layers."""

from __future__ import annotations

from torch import Tensor, nn

from distgnn.config import EncoderConfig
from distgnn.models.batch_context import Context
from distgnn.models.dropout import Masks
from distgnn.models.fast_weights import FastWeights


class Layer(nn.Module):
    """One message passing layer, registered by :data:`distgnn.register.encoder` and stacked by MessagePassing.

    Adaptable parameters are those of the modules in :mod:`distgnn.models.fast_weights`.
    """

    def __init__(self, config: EncoderConfig, edge_width: int, last: bool) -> None:  # noqa: ARG002
        """Create the layer.

        Args:
            config: Options of the encoder.
            edge_width: Number of columns of ``context.edge_sums``; 0 ignores edge attributes.
            last: Whether this is the last layer.
        """
        super().__init__()

    def forward(self, x: Tensor, context: Context, fast: FastWeights | None = None) -> Tensor:
        """Apply the layer, [N, width] -> [N, width]; see :class:`~distgnn.models.fast_weights.AdaptiveLinear` for ``fast``."""
        raise NotImplementedError


class Psi(nn.Module):
    """psi of L2P-GNN: everything between embedded inputs and node embeddings.

    Attributes:
        reads_input: Whether it reads node features only from its input, so that they can be masked.
    """

    reads_input: bool = True

    def forward(self, x: Tensor, context: Context, fast: FastWeights | None, masks: Masks | None) -> Tensor:
        """Compute node embeddings.

        Args:
            x: [N, width], embedded inputs.
            context: Constants of the batch.
            fast: Parameters adapted per group; None = shared parameters.
            masks: Dropout masks after each layer; None = no dropout.

        Returns:
            [N, width].
        """
        raise NotImplementedError

    def layer_outputs(self, x: Tensor, context: Context) -> dict[str, Tensor]:
        """Return what each layer puts out, without dropout, [N, width] by name; the last ones are the node embeddings.

        A module whose layers are unknown has one output, "nodes".
        """
        return {"nodes": self(x, context, None, None)}

    def frozen_layers(self, adapted: int) -> int:  # noqa: ARG002
        """Return the number of the first layers that keep the shared parameters if the last ``adapted`` ones adapt (0 = all).

        0 for a module that has no layers of its own.
        """
        return 0

    def rehearse(self, order: int) -> None:
        """Check that it can be trained.

        Args:
            order: Order of the adaptation per graph; 0 = no adaptation.

        Raises:
            RequestError: It cannot.
        """

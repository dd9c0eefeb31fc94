"""What encoders are made of: psi, everything between inputs and node embeddings, and the layers that it usually stacks."""

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
        """edge_width: columns of ``context.edge_sums``, 0 to leave edge attributes out. last: whether it is the last layer."""
        super().__init__()

    def forward(self, x: Tensor, context: Context, fast: FastWeights | None = None) -> Tensor:
        """[N, width] -> [N, width]."""
        raise NotImplementedError


class Psi(nn.Module):
    """psi of L2P-GNN: everything between embedded inputs and node embeddings.

    reads_input: whether embedded (and perhaps partly hidden) features are all it sees of nodes.
    """

    reads_input: bool = True

    def forward(self, x: Tensor, context: Context, fast: FastWeights | None, masks: Masks | None) -> Tensor:
        """[N, width] -> [N, width]; with ``fast``, each group's nodes see that group's adapted weights.

        masks: dropout after each layer; None = no dropout.
        """
        raise NotImplementedError

    def rehearse(self, order: int) -> None:
        """Raise RequestError where it cannot be trained; order: of its adaptation per graph, 0 = it will not adapt so."""

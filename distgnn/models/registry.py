"""Kinds of encoders that users registered, by name. Modules that register some are imported when a person names them."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from torch import Tensor, nn

from distgnn.config import EncoderConfig
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.models.batch_context import Context
from distgnn.models.fast_weights import FastWeights


class Psi(nn.Module):
    """psi of L2P-GNN: everything between embedded inputs and node embeddings.

    reads_input: whether embedded (and perhaps partly hidden) features are all it sees of nodes.
    """

    reads_input: bool = True

    def forward(self, x: Tensor, context: Context, fast: FastWeights | None, dropout: float) -> Tensor:
        """[N, width] -> [N, width]; with ``fast``, each group's nodes see that group's adapted weights."""
        raise NotImplementedError

    def rehearse(self, order: int) -> None:
        """Raise RequestError where it cannot be trained; order: of its adaptation per graph, 0 = it will not adapt so."""


REGISTERED: dict[str, Callable[[Schema, EncoderConfig], Psi]] = {}
"""name -> what builds psi for a corpus and a config."""


def import_modules(names: tuple[str, ...]) -> None:
    """Import the modules that register encoders; RequestError for one that cannot be found."""
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise RequestError(
                f"imports: {name!r} cannot be imported ({error}); is it installed or on PYTHONPATH?"
            ) from error

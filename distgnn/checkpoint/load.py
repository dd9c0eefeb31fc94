"""Pre-trained encoders as ``nn.Module`` for PyG users."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

from distgnn.checkpoint.format import SavedEncoder, load_saved_encoder
from distgnn.checkpoint.training_state import load_weights, strip
from distgnn.graph.batch import GraphBatch
from distgnn.graph.pyg import from_pyg, pyg_data
from distgnn.graph.schema import Schema
from distgnn.models.encoder import Encoder, build_encoder

if TYPE_CHECKING:
    from torch_geometric.data import Data


class Embeddings(NamedTuple):
    """Output of :class:`PretrainedEncoder`.

    Shape:
        - nodes: [N, width]
        - graphs: [G, width]
    """

    nodes: Tensor
    graphs: Tensor


class PretrainedEncoder(nn.Module):
    """A pre-trained encoder with its pooling, applied to PyG ``Data`` or ``Batch``, or to GraphBatch. Starts in evaluation mode."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.eval()

    @property
    def schema(self) -> Schema:
        """Node and edge features that the encoder reads."""
        return self.encoder.schema

    @property
    def width(self) -> int:
        """Size of the embeddings."""
        return self.encoder.width

    def forward(self, data: Data | list[Data] | GraphBatch) -> Embeddings:
        """Embed all nodes and graphs.

        Args:
            data: Graphs on any device, which are moved to that of the weights; a list of them is joined.
                :func:`distgnn.graph.pyg.from_pyg` describes the layout of PyG data.

        Returns:
            Embeddings of all nodes and of all graphs.

        Raises:
            RequestError: If the features of ``data`` differ from :attr:`schema`.
        """
        if not isinstance(data, GraphBatch):
            joined: Data = pyg_data().Batch.from_data_list(data) if isinstance(data, list) else data
            data = from_pyg(joined, self.schema)
        batch = data.to(self.encoder.device)
        nodes = self.encoder(batch)
        return Embeddings(nodes, self.encoder.pool(nodes, batch))


def encoder_of(checkpoint: SavedEncoder) -> Encoder:
    """Build the encoder of a loaded checkpoint.

    Raises:
        RequestError: If its weights do not fit its config.
    """
    encoder = build_encoder(checkpoint.schema, checkpoint.encoder, seed=0)
    load_weights(encoder, strip(checkpoint.model, "encoder"), checkpoint.uri)
    return encoder


def load_encoder(uri: str | os.PathLike[str]) -> PretrainedEncoder:
    """Load the pre-trained encoder of a checkpoint, or of the newest checkpoint of a run.

    Only config.json and model.safetensors are read, and verified against checksums.json. Remote files are cached in the
    cache of ``distgnn pull`` (DISTGNN_CACHE, default ~/.cache/distgnn), so a second load downloads checksums.json only.

    Args:
        uri: A path, a file:// or s3:// URI, a :class:`Run`, ``zoo:NAME``, or ``hf:OWNER/NAME[@REVISION]``.

    Returns:
        The encoder with its pooling, in evaluation mode.

    Raises:
        RequestError: If there is no complete checkpoint at ``uri``, or a file is malformed.
    """
    return PretrainedEncoder(encoder_of(load_saved_encoder(uri)))

"""A checkpoint as an nn.Module for PyG users. Nothing here needs Ray."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch_geometric.data import Data

from distgnn.checkpoint.format import SavedEncoder, load_saved_encoder
from distgnn.checkpoint.training_state import load_weights, strip
from distgnn.graph.batch import GraphBatch
from distgnn.graph.pyg import from_pyg
from distgnn.graph.schema import Schema
from distgnn.models.encoder import Encoder, build_encoder


class Embeddings(NamedTuple):
    """nodes: [N, width], graphs: [G, width]."""

    nodes: Tensor
    graphs: Tensor


class PretrainedEncoder(nn.Module):
    """An encoder with its pooling, for PyG ``Data``/``Batch`` or GraphBatch; starts in evaluation mode."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.eval()

    @property
    def schema(self) -> Schema:
        """The features it reads."""
        return self.encoder.schema

    @property
    def width(self) -> int:
        """Size of its embeddings."""
        return self.encoder.width

    def forward(self, data: Data | GraphBatch) -> Embeddings:
        """Embeddings of all nodes and graphs; raises RequestError where the data has other features than :attr:`schema`.

        The data may lie on any device and is moved to the weights'. See :func:`distgnn.graph.pyg.from_pyg` for its layout.
        """
        batch = data if isinstance(data, GraphBatch) else from_pyg(data, self.schema)
        batch = batch.to(self.encoder.device)
        nodes = self.encoder(batch)
        return Embeddings(nodes, self.encoder.pool(nodes, batch))


def encoder_of(checkpoint: SavedEncoder) -> Encoder:
    """The encoder of a loaded checkpoint; raises RequestError where its weights do not fit its config."""
    encoder = build_encoder(checkpoint.schema, checkpoint.encoder, seed=0)
    load_weights(encoder, strip(checkpoint.model, "encoder"), checkpoint.uri)
    return encoder


def load_encoder(uri: str) -> PretrainedEncoder:
    """Load the pre-trained encoder of a checkpoint, or of the newest checkpoint of a run.

    Only config.json and model.safetensors are read, and verified against checksums.json. From s3:// they are kept in the cache
    that ``distgnn pull`` uses (DISTGNN_CACHE, default ~/.cache/distgnn), so that loading again downloads checksums.json alone.

    Args:
        uri: A path, file:// or s3:// URI.

    Returns:
        The encoder with its pooling, in evaluation mode.

    Raises:
        RequestError: If there is no whole checkpoint at ``uri``, or its files do not parse.
    """
    return PretrainedEncoder(encoder_of(load_saved_encoder(uri)))

"""The encoder: input embedding, message passing layers (psi) and pooling (omega)."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn import register
from distgnn.config import EncoderConfig
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch
from distgnn.graph.schema import Schema, sizes
from distgnn.models.batch_context import Context
from distgnn.models.dropout import Dropout, Masks, node_ids
from distgnn.models.fast_weights import AdaptiveLinear, FastWeights
from distgnn.models.layer import Layer, Psi
from distgnn.models.ops.segments import Segments
from distgnn.models.ops.sparse import SparseMap
from distgnn.models.pooling import build_pooling


class InputEmbedding(nn.Module):
    """Embed node features: the sum of one embedding per category and a linear map of numbers, or a learned constant."""

    def __init__(self, schema: Schema, width: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes(schema.node, "categorical"))
        for table in self.tables:
            nn.init.xavier_uniform_(table.weight)  # pyright: ignore[reportArgumentType]
        dense = sum(sizes(schema.node, "dense"))
        self.dense = nn.Linear(dense, width, bias=False) if dense else None
        self.constant = None if schema.node else nn.Parameter(torch.ones(width))

    def forward(self, batch: GraphBatch) -> Tensor:
        """Return [N, width]."""
        if self.constant is not None:
            return self.constant.expand(batch.num_nodes, -1)
        parts = [table(column) for column, table in zip(batch.node_cat.t(), self.tables, strict=True)]
        if self.dense is not None:
            parts.append(self.dense(batch.node_dense.to(self.dense.weight.dtype)))
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


class MessagePassing(Psi):
    """Stack of message passing layers whose outputs are combined (Xu et al., "jumping knowledge networks", ICML 2018).

    With residual connections, layer l maps x to x + dropout(relu(layer(x))), the last layer without ReLU.
    """

    def __init__(self, schema: Schema, config: EncoderConfig) -> None:
        super().__init__()
        edge_width = sum(f.size for f in schema.edge) + 1 if schema.edge else 0
        layer, count = register.encoder.get(config.kind, "encoder.kind").make, config.layers
        self.layers = nn.ModuleList(layer(config, edge_width, number == count - 1) for number in range(count))
        self.jump, self.residual, width = config.jumping_knowledge, config.residual, config.width
        self.project = AdaptiveLinear(count * width, width) if config.jumping_knowledge == "concat" else None

    def forward(self, x: Tensor, context: Context, fast: FastWeights | None, masks: Masks | None) -> Tensor:
        """Apply the layers, [N, width] -> [N, width]."""
        frozen, below = (0, []) if fast is None else (fast.frozen, fast.below)
        if below is None and fast is not None:
            below = fast.below = self._outputs(x, range(frozen), context, None, masks)
        x = below[-1] if below else x
        outputs = [*(below or []), *self._outputs(x, range(frozen, len(self.layers)), context, fast, masks)]
        return self._combine(outputs, fast)

    def _combine(self, outputs: list[Tensor], fast: FastWeights | None) -> Tensor:
        if self.project is not None:
            return self.project(torch.cat(outputs, dim=1), fast)
        if self.jump == "max":
            return torch.stack(outputs).amax(0)
        return torch.stack(outputs).sum(0) if self.jump == "sum" else outputs[-1]

    def layer_outputs(self, x: Tensor, context: Context) -> dict[str, Tensor]:
        """See :class:`Psi`: "layer 1", "layer 2" and so on, and "nodes" where several outputs are combined."""
        outputs = self._outputs(x, range(len(self.layers)), context, None, None)
        found = {f"layer {number}": output for number, output in enumerate(outputs, start=1)}
        return found if self.jump == "last" else found | {"nodes": self._combine(outputs, None)}

    def _outputs(
        self, x: Tensor, numbers: range, context: Context, fast: FastWeights | None, masks: Masks | None
    ) -> list[Tensor]:
        """Return the outputs of consecutive layers; ``x`` is the input of the first."""
        outputs: list[Tensor] = []
        for number in numbers:
            y = self.layers[number](x, context, fast)
            if number + 1 < len(self.layers):
                y = F.relu(y)
            if masks is not None:
                y = masks.drop(y, number + 1)
            x = x + y if self.residual else y
            outputs.append(x)
        return outputs

    def frozen_layers(self, adapted: int) -> int:
        """See :class:`Psi`."""
        return max(len(self.layers) - adapted, 0) if adapted else 0


class Encoder(nn.Module):
    """Encoder of node and graph embeddings. psi and pooling can be adapted per graph, the input embedding cannot.

    Args:
        schema: Features of the graphs.
        config: Options of the encoder.
    """

    def __init__(self, schema: Schema, config: EncoderConfig) -> None:
        super().__init__()
        self.schema, self.config, self.width, self.dropout = schema, config, config.width, Dropout()
        self.embed = InputEmbedding(schema, config.width)
        self.psi = build_psi(schema, config)
        self.pooling = build_pooling(config)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the weights."""
        return next(self.parameters()).dtype

    def set_dropout(self, probability: float) -> None:
        """Set the dropout probability of activations after each layer in training mode (default 0).

        The mask of a node depends on ``graph_id`` and its position in its graph, see :class:`Dropout`.
        """
        self.dropout = Dropout(probability)

    def context(self, batch: GraphBatch, hidden_edges: Tensor | None = None) -> Context:
        """Build the constants that forward passes over ``batch`` share.

        Args:
            batch: G graphs with E edges.
            hidden_edges: bool [E], edges whose attributes are hidden.
        """
        return Context(batch, self.schema, self.dtype, hidden_edges)

    def forward(
        self, batch: GraphBatch | Context, fast: FastWeights | None = None, inputs: Tensor | None = None
    ) -> Tensor:
        """Compute node embeddings.

        Args:
            batch: The graphs, or their context from :meth:`context`.
            fast: Parameters of psi adapted per graph; None = shared parameters.
            inputs: float [N, width], used instead of ``self.embed(batch)``, such as inputs with masked nodes.

        Returns:
            [N, width].

        Raises:
            RequestError: ``inputs`` are given, but the user's module reads the original features.
        """
        context = batch if isinstance(batch, Context) else self.context(batch)
        if inputs is not None and not self.psi.reads_input:
            raise RequestError("encoder: the objective hides node features, but the module reads data; let it take x")
        x = self.embed(context.batch) if inputs is None else inputs
        masks = None
        if self.training and self.dropout.probability:
            masks = self.dropout.masks(node_ids(context.batch))
        return self.psi(x, context, fast, masks)

    def layer_outputs(self, batch: GraphBatch) -> dict[str, Tensor]:
        """Compute the representations of all layers, without dropout.

        Args:
            batch: G graphs with N nodes.

        Returns:
            By name and in order: "input" [N, width], the embedded node features; each layer [N, width], "layer 1" and so
            on; "nodes" [N, width] where the encoder combines layers (jumping knowledge); "graph" [G, width], the pooled
            embedding. A PyG module of the user has "input" (if it reads x), "nodes" and "graph".
        """
        context = self.context(batch)
        x = self.embed(batch)
        inner = self.psi.layer_outputs(x, context)
        outputs = {"input": x, **inner} if self.psi.reads_input else inner
        return {**outputs, "graph": self.pool(list(inner.values())[-1], batch)}

    def pool(self, nodes: Tensor, batch: GraphBatch) -> Tensor:
        """Pool node embeddings [N, width] to graph embeddings [G, width] (L2P-GNN Eq. 2)."""
        return self.pooling(nodes, Segments(batch.node_ptr, batch.num_nodes).membership)

    def readout(self, nodes: Tensor, members: SparseMap) -> Tensor:
        """Pool without omega, [N, width] -> [groups, width]; ``members`` is a map [groups, N] of ones."""
        return self.pooling.readout(nodes, members)


def build_psi(schema: Schema, config: EncoderConfig) -> Psi:
    """Build the layers between embedded inputs and node embeddings: built-in layers, or a PyG module of the user."""
    entry = register.encoder.get(config.kind, "encoder.kind")
    if isinstance(entry.make, type) and issubclass(entry.make, Layer):
        return MessagePassing(schema, config)
    own = (getattr(config, entry.name),) if entry.config else ()
    adapter = importlib.import_module("distgnn.models.user_encoder.adapter")  # it loads PyG
    return adapter.UserEncoder(schema, config, entry.make(schema, config, *own))


def build_encoder(schema: Schema, config: EncoderConfig, seed: int) -> Encoder:
    """Build an encoder whose initial weights depend only on (schema, config, seed); the global random state is unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(schema, config)

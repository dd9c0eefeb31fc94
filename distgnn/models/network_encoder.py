"""Encoders of one large network: inputs per node type, and message passing over sampled subgraphs."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from distgnn import register
from distgnn.config import EncoderConfig, NetworkTaskConfig
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch
from distgnn.graph.schema import Schema
from distgnn.models.batch_context import Context
from distgnn.models.dropout import Dropout, Masks
from distgnn.models.encoder import MessagePassing
from distgnn.models.layer import Layer
from distgnn.models.ops.sparse import SparseMap, sparse_tensor
from distgnn.network.network import Network, SampledSubgraph

_SPARSE = 0.1
"""Features with a smaller fraction of non-zeros are stored and multiplied as sparse rows."""


class NodeInputs:
    """Node features by type, stored in the form that is gathered fastest (sparse rows if mostly zero)."""

    def __init__(self, network: Network) -> None:
        self.type_ptr = network.type_ptr
        self.features = [_compact(network.features.get(kind)) for kind in network.types]

    def rows(self, node: npt.NDArray[np.int64], device: torch.device | str) -> list[Tensor | SparseMap]:
        """Gather the inputs of nodes, type by type.

        Args:
            node: int64 [n], ascending global ids.
            device: device of the result.

        Returns:
            For each type: features [nodes of the type, d] (a SparseMap if sparse), or int64 ids within the type if it has none.
        """
        bounds = node.searchsorted(self.type_ptr)
        found: list[Tensor | SparseMap] = []
        for number, features in enumerate(self.features):
            local = node[bounds[number] : bounds[number + 1]] - self.type_ptr[number]
            if isinstance(features, sp.csr_matrix):
                found.append(_sparse_rows(features[local], device))
            else:
                found.append(torch.from_numpy(local if features is None else features[local]).to(device))
        return found


def _compact(features: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32] | sp.csr_matrix | None:
    if features is None:
        return None
    subset = features[:: max(1, len(features) // 1000)]
    return sp.csr_matrix(features) if np.count_nonzero(subset) < _SPARSE * subset.size else features


def _sparse_rows(rows: sp.csr_matrix, device: torch.device | str) -> SparseMap:
    transposed = sp.csr_matrix(rows.T)  # conversion does not sort
    return SparseMap(sparse_tensor(rows).to(device), sparse_tensor(transposed).to(device))


class SubgraphBatch:
    """A sampled subgraph as tensors, with the constants that its forward passes share.

    Args:
        inputs: node features of the network.
        block: the sampled subgraph, with n nodes, m messages and s queried nodes.
        device: device of the tensors.

    Attributes:
        counts: number of nodes of each type; nodes of a type are contiguous.
        node: int64 [n], ascending global ids.
        inputs: see :meth:`NodeInputs.rows`.
        source: int64 [m], positions among the n nodes.
        target: int64 [m].
        relation: int64 [m].
        degree: int64 [n], see Block.
        seed: int64 [s], positions of the queried nodes.
    """

    def __init__(self, inputs: NodeInputs, block: SampledSubgraph, device: torch.device | str = "cpu") -> None:
        self.counts: list[int] = np.diff(block.node.searchsorted(inputs.type_ptr)).tolist()
        self.inputs = inputs.rows(block.node, device)
        columns = block.node, block.seed, block.source, block.target, block.relation, block.degree
        self.node, self.seed, self.source, self.target, self.relation, self.degree = (
            torch.from_numpy(column).to(device) for column in columns
        )
        self._contexts: dict[torch.dtype, Context] = {}

    @property
    def num_nodes(self) -> int:
        """Number of nodes, n."""
        return self.degree.numel()

    @cached_property
    def seeds(self) -> SparseMap:
        """Map [s, n] that selects the queried nodes."""
        return SparseMap.select(self.seed, self.num_nodes)

    def context(self, dtype: torch.dtype) -> Context:
        """Return the subgraph as a Context of one directed graph (cached)."""
        if dtype not in self._contexts:
            self._contexts[dtype] = Context(self._graph(), Schema(), dtype, degree=self.degree)
        return self._contexts[dtype]

    def _graph(self) -> GraphBatch:
        n, m, device = self.num_nodes, self.target.numel(), self.degree.device
        return GraphBatch(
            graph_id=torch.zeros(1, dtype=torch.int64, device=device),
            node_ptr=torch.tensor([0, n], device=device),
            edge_ptr=torch.tensor([0, m], device=device),
            edges=torch.stack([self.source, self.target]),
            node_cat=torch.zeros(n, 0, dtype=torch.int32, device=device),
            node_dense=torch.zeros(n, 0, device=device),
            edge_cat=torch.zeros(m, 0, dtype=torch.int32, device=device),
            edge_dense=torch.zeros(m, 0, device=device),
            directed=True,
        )


class NetworkInput(nn.Module):
    """Input layer: a linear map of features for types that have some, else an embedding per node."""

    def __init__(self, network: Network, width: int) -> None:
        super().__init__()
        maps: list[nn.Module] = []
        for name, count in zip(network.types, (network.type_ptr[1:] - network.type_ptr[:-1]).tolist(), strict=True):
            known = network.features.get(name)
            maps.append(nn.Embedding(count, width) if known is None else nn.Linear(known.shape[1], width))
            nn.init.xavier_uniform_(maps[-1].weight)  # pyright: ignore[reportArgumentType]
        self.types = nn.ModuleList(maps)

    def forward(self, cut: SubgraphBatch) -> Tensor:
        """Return inputs [n, width] in the order of the subgraph's nodes."""
        return torch.cat([_map_inputs(features, layer) for features, layer in zip(cut.inputs, self.types, strict=True)])


def _map_inputs(features: Tensor | SparseMap, layer: nn.Module) -> Tensor:
    """Map the inputs of one type to [nodes, width]."""
    if isinstance(layer, nn.Embedding) and isinstance(features, Tensor):
        return layer.weight.index_select(
            0, features
        )  # the nodes are distinct: this gradient is faster than an embedding's
    if not isinstance(layer, nn.Linear):
        raise TypeError("the inputs of a type are a table of embeddings or a linear map")
    if isinstance(features, SparseMap):
        return features(layer.weight.t()) + layer.bias
    return layer(features.to(layer.weight.dtype))


class NetworkPsi(nn.Module):
    """Message passing that distinguishes node types and relations, registered by :data:`distgnn.register.network_encoder`."""

    def forward(
        self, x: Tensor, counts: list[int], messages: tuple[Tensor, Tensor, Tensor], masks: Masks | None = None
    ) -> Tensor:
        """Compute node embeddings.

        Args:
            x: [n, width]; nodes of a type are contiguous.
            counts: number of nodes of each type.
            messages: (source, target, relation), int64 [m] each; source and target are positions among all n nodes.
            masks: dropout after each layer; None = no dropout.

        Returns:
            [n, width].
        """
        raise NotImplementedError

    def queried(
        self,
        x: Tensor,
        counts: list[int],
        messages: tuple[Tensor, Tensor, Tensor],
        masks: Masks | None,
        seeds: SparseMap,
    ) -> Tensor:
        """Compute the embeddings of the queried nodes only. An encoder may leave out what they do not need.

        Args:
            x: See :meth:`forward`; likewise counts, messages and masks.
            seeds: Map [s, n] that selects the queried nodes; ``seeds.picks`` are their positions.

        Returns:
            [s, width], equal to those rows of :meth:`forward`.
        """
        return seeds(self(x, counts, messages, masks))


class NetworkEncoder(nn.Module):
    """Encoder of sampled subgraphs. A queried node's embedding does not depend on the other queried nodes.

    gcn, gat, gin, sage and registered layers are those used for corpora, with norm, jumping knowledge and residual connections;
    a GCN normalises by degrees in the whole sampled network. Encoders registered for networks may distinguish types and
    relations, as hgt does.

    Raises:
        RequestError: The encoder is a module written for PyG, which reads whole graphs.
    """

    def __init__(self, network: Network, config: NetworkTaskConfig) -> None:
        super().__init__()
        self.width, self.dropout, self.hops = config.width, Dropout(config.dropout), config.layers
        self.embed = NetworkInput(network, config.width)
        self.psi: nn.Module = _psi(network, config)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return next(self.parameters()).dtype

    def forward(self, cut: SubgraphBatch, inputs: Tensor | None = None) -> Tensor:
        """Embed the queried nodes.

        Args:
            cut: the sampled subgraph.
            inputs: float [n, width], used instead of ``self.embed(cut)``, such as inputs with masked nodes; None = embed.

        Returns:
            [s, width], in query order.
        """
        x = self.embed(cut) if inputs is None else inputs
        masks = self.dropout.masks(cut.node) if self.training and self.dropout.probability else None
        if isinstance(self.psi, NetworkPsi):
            messages = cut.source, cut.target, cut.relation
            return self.psi.queried(torch.tanh(x), cut.counts, messages, masks, cut.seeds)
        return cut.seeds(self.psi(x, cut.context(x.dtype), None, masks))


def _psi(network: Network, config: NetworkTaskConfig) -> nn.Module:
    found = register.network_encoder.find(config.encoder)
    if found is None:
        return _layers(config)
    own = (getattr(config, found.name),) if found.config else ()
    return found.make(network, config, *own)


def _layers(config: NetworkTaskConfig) -> MessagePassing:
    entry = register.encoder.get(config.encoder, "network.encoder", register.network_encoder.names())
    layer = entry.make
    if not (isinstance(layer, type) and issubclass(layer, Layer)):
        raise RequestError(
            f"network.encoder={config.encoder} is a module that reads whole graphs; register a Layer instead"
        )
    names = "layers", "width", "norm", "jumping_knowledge", "residual", "heads"
    values = {name: getattr(config, name) for name in names}
    options = {entry.name: getattr(config, entry.name)} if entry.config else {}
    return MessagePassing(Schema(), EncoderConfig(config.encoder, **values, options=options))


def build_network_encoder(network: Network, config: NetworkTaskConfig, seed: int) -> NetworkEncoder:
    """Create an encoder whose initial weights depend on the arguments only; global random state is unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NetworkEncoder(network, config)

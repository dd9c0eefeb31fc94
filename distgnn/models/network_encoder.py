"""Encoders of one large network: inputs per node type, and message passing over cut-outs of it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from distgnn.config import EncoderConfig, NetworkTaskConfig
from distgnn.graph.batch import GraphBatch
from distgnn.graph.schema import Schema
from distgnn.models.batch_context import Context
from distgnn.models.encoder import MessagePassing
from distgnn.models.hgt import HGT
from distgnn.models.ops.sparse import SparseMap, csr_tensor
from distgnn.network.network import Block, Network

_SPARSE = 0.1
"""Features with a smaller share of numbers that are not 0 are multiplied as sparse rows."""


class NodeInputs:
    """What nodes bring along, type by type, kept as it is gathered fastest: features of mostly zeros as sparse rows."""

    def __init__(self, network: Network) -> None:
        self.type_ptr = network.type_ptr
        self.features = [_compact(network.features.get(kind)) for kind in network.types]

    def rows(self, node: npt.NDArray[np.int64], device: torch.device | str) -> list[Tensor | SparseMap]:
        """By type, of the ascending global ids ``node``: features [nodes of the type, d], as a map where they are sparse,
        and int64 ids within the type where it has none."""
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
    some = features[:: max(1, len(features) // 1000)]
    return sp.csr_matrix(features) if np.count_nonzero(some) < _SPARSE * some.size else features


def _sparse_rows(rows: sp.csr_matrix, device: torch.device | str) -> SparseMap:
    turned = sp.csr_matrix(rows.T)  # without sorting
    return SparseMap(_tensor(rows, device), _tensor(turned, device))


def _tensor(rows: Any, device: torch.device | str) -> Tensor:
    ptr, columns = (torch.from_numpy(ids.astype(np.int64)) for ids in (rows.indptr, rows.indices))
    return csr_tensor(ptr, columns, torch.from_numpy(rows.data), rows.shape).to(device)


class Cut:
    """A block as tensors, with what forward passes over it share.

    counts: nodes of each type; nodes of a type lie together. inputs: see :meth:`NodeInputs.rows`. source, target, relation:
    int64 [m]. degree: int64 [n], see Block. seed: int64 [s], places of the asked nodes.
    """

    def __init__(self, inputs: NodeInputs, block: Block, device: torch.device | str = "cpu") -> None:
        self.counts: list[int] = np.diff(block.node.searchsorted(inputs.type_ptr)).tolist()
        self.inputs = inputs.rows(block.node, device)
        columns = block.seed, block.source, block.target, block.relation, block.degree
        self.seed, self.source, self.target, self.relation, self.degree = (
            torch.from_numpy(column).to(device) for column in columns
        )
        self._contexts: dict[torch.dtype, Context] = {}

    @property
    def num_nodes(self) -> int:
        """n."""
        return self.degree.numel()

    @cached_property
    def seeds(self) -> SparseMap:
        """[s, n]: picks the asked nodes."""
        return SparseMap.select(self.seed, self.num_nodes)

    def context(self, dtype: torch.dtype) -> Context:
        """The cut-out as one directed graph; made once."""
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
    """[n, width] from a cut-out: a linear map of features where a type has some, else an embedding of every node."""

    def __init__(self, network: Network, width: int) -> None:
        super().__init__()
        maps: list[nn.Module] = []
        for name, count in zip(network.types, (network.type_ptr[1:] - network.type_ptr[:-1]).tolist(), strict=True):
            known = network.features.get(name)
            maps.append(nn.Embedding(count, width) if known is None else nn.Linear(known.shape[1], width))
            nn.init.xavier_uniform_(maps[-1].weight)  # pyright: ignore[reportArgumentType]
        self.types = nn.ModuleList(maps)

    def forward(self, cut: Cut) -> Tensor:
        """[n, width], in the order of the cut-out's nodes."""
        return torch.cat([_mapped(given, into) for given, into in zip(cut.inputs, self.types, strict=True)])


def _mapped(given: Tensor | SparseMap, into: nn.Module) -> Tensor:
    """[nodes, width] from what :class:`NodeInputs` gives of a type."""
    if not isinstance(into, nn.Linear):
        return into(given)
    if isinstance(given, SparseMap):
        return given(into.weight.t()) + into.bias
    return into(given.to(into.weight.dtype))


class NetworkEncoder(nn.Module):
    """Node embeddings of cut-outs. An asked node's embedding does not depend on what else was asked for.

    gcn, gat, gin and sage are the layers that corpora have, without norm; a GCN normalises by degrees in the whole sampled
    network. hgt tells types and relations apart.
    """

    def __init__(self, network: Network, config: NetworkTaskConfig) -> None:
        super().__init__()
        self.width, self.dropout, self.hops = config.width, config.dropout, config.layers
        self.embed = NetworkInput(network, config.width)
        if config.encoder == "hgt":
            self.psi: HGT | MessagePassing = HGT(network, config.layers, config.width, config.heads)
        else:
            layers = EncoderConfig(config.encoder, config.layers, config.width, norm="none", heads=config.heads)
            self.psi = MessagePassing(Schema(), layers)

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        return next(self.parameters()).dtype

    def forward(self, cut: Cut, inputs: Tensor | None = None) -> Tensor:
        """[s, width]: embeddings of the asked nodes, in the order they were asked for.

        inputs: float [n, width] taken instead of ``self.embed(cut)``, such as one with hidden nodes replaced.
        """
        x = self.embed(cut) if inputs is None else inputs
        if isinstance(self.psi, HGT):
            x = self.psi(torch.tanh(x), cut.counts, (cut.source, cut.target, cut.relation), self.dropout)
        else:
            x = self.psi(x, cut.context(x.dtype), None, self.dropout)
        return cut.seeds(x)


def build_network_encoder(network: Network, config: NetworkTaskConfig, seed: int) -> NetworkEncoder:
    """An encoder whose initial weights are a function of the arguments alone; global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NetworkEncoder(network, config)

"""HGT (Hu et al., "Heterogeneous graph transformer", WWW 2020) over sampled subgraphs, with the layers of PyG."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor, nn

from distgnn import register
from distgnn.config import NetworkTaskConfig
from distgnn.config.base import check
from distgnn.models.dropout import Masks
from distgnn.models.network_encoder import NetworkPsi
from distgnn.network.network import Network

Triple = tuple[str, str, str]


@register.network_encoder("hgt")
class HGT(NetworkPsi):
    """Layers of PyG's HGTConv, each with its gated residual connection.

    Args:
        network: defines node types and relations.
        config: layers, width (a multiple of heads) and heads.

    Raises:
        RequestError: The width is no multiple of the heads, or an option of message passing layers is set.
    """

    def __init__(self, network: Network, config: NetworkTaskConfig) -> None:
        super().__init__()
        config.refuse_layer_options()
        width, heads = config.width, config.heads
        check(width % heads == 0, f"network.width={width} must be a multiple of network.heads={heads} for encoder=hgt")
        place = {kind: str(number) for number, kind in enumerate(network.types)}  # module names must not contain dots
        self.types = list(place.values())
        ends = enumerate((place[kind.source], place[kind.target]) for kind in network.relations)
        self.relations: list[Triple] = [(source, str(number), target) for number, (source, target) in ends]
        layer = importlib.import_module("torch_geometric.nn").HGTConv  # PyG takes seconds to import
        metadata = self.types, self.relations
        self.layers = nn.ModuleList(layer(width, width, metadata, heads) for _ in range(config.layers))

    def forward(
        self, x: Tensor, counts: list[int], messages: tuple[Tensor, Tensor, Tensor], masks: Masks | None = None
    ) -> Tensor:
        """Apply all layers, see :class:`NetworkPsi`."""
        nodes = dict(zip(self.types, x.split(counts), strict=True))
        edges = self._edges(counts, *messages)
        of_type = dict(zip(self.types, masks.split(counts), strict=True)) if masks else {}
        for number, layer in enumerate(self.layers, start=1):
            found = layer(nodes, edges)  # a type without incoming relations has no output and is left unchanged
            nodes = {kind: found.get(kind, h) for kind, h in nodes.items()}
            if of_type:
                nodes = {kind: of_type[kind].drop(h, number) for kind, h in nodes.items()}
        return torch.cat([nodes[kind] for kind in self.types])

    def _edges(self, counts: list[int], source: Tensor, target: Tensor, relation: Tensor) -> dict[Triple, Tensor]:
        """Split messages by relation: int64 [2, messages], positions within the types; relations without messages are left out.

        If there are no messages, the first relation is included with none, because HGTConv needs at least one relation.
        """
        first = dict(zip(self.types, torch.tensor([0, *counts]).cumsum(0).tolist(), strict=False))
        order = torch.argsort(relation, stable=True)
        sizes = torch.bincount(relation, minlength=len(self.relations)).tolist()
        ends = torch.stack([source, target])[:, order].split(sizes, dim=1)
        present = {}
        for triple, size, pair in zip(self.relations, sizes, ends, strict=True):
            if size:
                present[triple] = pair - torch.tensor([[first[triple[0]]], [first[triple[2]]]], device=pair.device)
        return present or {self.relations[0]: ends[0]}

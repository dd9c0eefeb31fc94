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
from distgnn.models.ops.sparse import SparseMap
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
        layers = [layer(width, width, metadata, heads) for _ in range(config.layers)]
        for each in layers:
            each.k_rel, each.v_rel = TypedLinear(each.k_rel.weight), TypedLinear(each.v_rel.weight)
        self.layers = nn.ModuleList(layers)

    def forward(
        self, x: Tensor, counts: list[int], messages: tuple[Tensor, Tensor, Tensor], masks: Masks | None = None
    ) -> Tensor:
        """Apply all layers, see :class:`NetworkPsi`."""
        every = torch.ones(len(x), dtype=torch.bool, device=x.device)
        return self._embed(x, counts, messages, masks, [every] * (len(self.layers) + 1))

    def queried(
        self,
        x: Tensor,
        counts: list[int],
        messages: tuple[Tensor, Tensor, Tensor],
        masks: Masks | None,
        seeds: SparseMap,
    ) -> Tensor:
        """See :class:`NetworkPsi`. A layer computes the nodes that the next one needs, the last layer the queried nodes."""
        source, target, _ = messages
        needed = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        needed[seeds.picks] = True
        reach = [needed]
        for _ in self.layers:
            reach.append(reach[-1].index_fill(0, source[reach[-1][target]], True))
        found = self._embed(x, counts, messages, masks, reach[::-1])
        place = needed.cumsum(0) - 1
        return SparseMap.select(place[seeds.picks], len(found))(found)

    def _embed(
        self,
        x: Tensor,
        counts: list[int],
        messages: tuple[Tensor, Tensor, Tensor],
        masks: Masks | None,
        reach: list[Tensor],
    ) -> Tensor:
        """Return the outputs of the last layer for the nodes ``reach[-1]``, in their order.

        Args:
            x: See :class:`NetworkPsi`; likewise counts, messages and masks.
            reach: bool [n] for the input and for each layer: nodes whose rows are computed. Those of a layer are among those
                before it, and so are the sources of their messages.
        """
        source, target, relation = messages
        x = x[reach[0]]
        for number, (layer, before, after) in enumerate(zip(self.layers, reach, reach[1:], strict=False), start=1):
            place, used = before.cumsum(0) - 1, after[target]
            sizes = torch.stack([part.sum() for part in before.split(counts)]).tolist()
            nodes = dict(zip(self.types, x.split(sizes), strict=True))
            found = layer(nodes, self._edges(sizes, place[source[used]], place[target[used]], relation[used]))
            # a type without incoming relations has no output and is left unchanged
            x = torch.cat([found.get(kind, h) for kind, h in nodes.items()])[after[before]]
            if masks:
                x = masks.take(after).drop(x, number)
        return x

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


class TypedLinear(nn.Module):
    """PyG's HeteroLinear for rows that are sorted by type, without a bias.

    That of PyG writes to slices of its output, so that its backward pass copies all rows once per type.

    Args:
        weight: The weight [types, inputs, outputs] of a HeteroLinear.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor, type_vec: Tensor) -> Tensor:
        """Return x[i] @ weight[type_vec[i]], [n, outputs]; type_vec: int64 [n], ascending."""
        sizes = type_vec.bincount(minlength=len(self.weight)).tolist()
        return torch.cat([rows @ weight for rows, weight in zip(x.split(sizes), self.weight, strict=True)])

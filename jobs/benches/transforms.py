"""Per-graph data transforms in the style of the published pre-training code (Hu et al., ICLR 2020): one PyG Data at a time."""

from __future__ import annotations

import random

import networkx as nx
import torch
from torch_geometric.data import Data

from distgnn.objectives.attrmasking import MaskingConfig
from distgnn.objectives.contextpred import ContextConfig


def context_transform(graph: Data, config: ContextConfig) -> Data:
    """Sample a root and the subgraph induced by the nodes between the inner and outer distance, with features, by networkx."""
    full = nx.Graph()
    full.add_nodes_from(range(graph.num_nodes or 0))
    full.add_edges_from((u, v, {"place": i}) for i, (u, v) in enumerate(graph["edge_index"].t().tolist()))
    root = random.randrange(full.number_of_nodes())
    hops = nx.single_source_shortest_path_length(full, root, config.outer or None)
    ring = sorted(node for node, distance in hops.items() if distance > config.inner)
    number = {node: i for i, node in enumerate(ring)}
    edges = [(number[u], number[v], place) for u, v, place in full.subgraph(ring).edges(data="place")]
    kept = torch.tensor(edges, dtype=torch.int64).reshape(-1, 3)
    result = graph.clone()
    result.root_index = torch.tensor([root])
    result.context_index = torch.cat([kept[:, :2].t(), kept[:, [1, 0]].t()], dim=1)
    if graph.x is not None:
        result.x_context = graph.x[torch.tensor(ring, dtype=torch.int64)]
    if graph.edge_attr is not None:
        result.edge_attr_context = graph.edge_attr[kept[:, 2]].repeat(2, 1)
    return result


def masking_transform(graph: Data, config: MaskingConfig) -> Data:
    """Sample nodes to mask, and keep their features as labels."""
    nodes = graph.num_nodes or 0
    hidden = torch.tensor(random.sample(range(nodes), max(1, round(config.rate * nodes))))
    result = graph.clone()
    result.masked_index, result.masked_label = hidden, graph["x"][hidden]
    return result

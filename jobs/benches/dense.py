"""Graphs padded to the largest of a batch, with dense adjacency, as torch.func.vmap requires."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch, row_graph, select_graphs
from distgnn.models.batch_context import Aggregation, Context
from distgnn.models.encoder import Encoder
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from distgnn.objectives.l2p.task_batch import EdgeSamples, TaskBatch

_AGGREGATION: dict[str, Aggregation] = {"gin": "sum", "gcn": "gcn", "sage": "mean", "gat": "gcn"}


@dataclass(frozen=True)
class DenseLinks:
    """Support or query links of B graphs with at most M links, C child tasks and L nodes each.

    Attributes:
        ends: int64 [B, M, 3], local ids of anchor, positive and negative.
        weight: [B, M, 2], 1 where the positive and where the negative exists.
        members: [B, C + 1, L], rows that average the end nodes of a child task; the last row averages all nodes.
        moved: int64 [B, width], shifted dimensions of the negative graph embedding.
    """

    ends: Tensor
    weight: Tensor
    members: Tensor
    moved: Tensor


@dataclass(frozen=True)
class Dense:
    """Usable graphs of a batch, padded to the largest.

    Attributes:
        packed: The graphs as a batch.
        slot: int64 [B, L], node of each slot.
        real: [B, L, 1], 0 for padding.
        adjacency: [B, L, L], weights of the encoder's aggregation.
        edge_sums: [B, L, k], sums of the edge features of incoming messages.
        attributes: [B, L * L, k], edge features of every pair (target, source), for attention only; k = 0 without edge features.
        child: [B, C], 1 for each child task.
        support: The support links.
        query: The query links.
    """

    packed: GraphBatch
    slot: Tensor
    real: Tensor
    adjacency: Tensor
    edge_sums: Tensor
    attributes: Tensor
    child: Tensor
    support: DenseLinks
    query: DenseLinks


class DenseContext(Context):
    """Context of one graph as dense tensors, batched by vmap."""

    def __init__(self, adjacency: Tensor, edge_sums: Tensor, attributes: Tensor) -> None:
        vars(self).update(
            neighbours=lambda _: adjacency.__matmul__,
            edge_sums=lambda _: edge_sums,
            attention=_dense_attention(adjacency, attributes),
        )


def _dense_attention(adjacency: Tensor, attributes: Tensor) -> SimpleNamespace:
    """Return the attention operations over all pairs (target, source) of one graph; pairs without a message get weight 0."""
    size = adjacency.shape[0]

    def weights(scores: Tensor) -> Tensor:
        hidden = (adjacency == 0).unsqueeze(2)
        return scores.view(size, size, -1).masked_fill(hidden, -1e9).softmax(1).masked_fill(hidden, 0).flatten(0, 1)

    def weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
        heads = weights.shape[1]
        return torch.einsum("ijh,jhd->id", weights.view(size, size, heads), values.view(size, heads, -1))

    return SimpleNamespace(
        source=lambda x: x.repeat(size, 1),
        incoming=SimpleNamespace(
            expand=lambda x: x.repeat_interleave(size, dim=0), sum=lambda x: x.view(size, size, -1).sum(1)
        ),
        attributes=attributes,
        weights=weights,
        weighted_sum=weighted_sum,
    )


def densify(encoder: Encoder, batch: GraphBatch, config: L2PConfig) -> Dense:
    """Pad a batch and its tasks. Not timed, since a data loader does it."""
    batch = select_graphs(batch, TaskBatch(batch).usable)
    tasks, context, dtype = TaskBatch(batch), encoder.context(batch), encoder.dtype
    sizes, device = batch.node_ptr.diff(), batch.node_ptr.device
    graphs, length, children = batch.num_graphs, int(sizes.max()), int(tasks.children.max())
    place = torch.arange(length, device=device)
    real = place < sizes.unsqueeze(1)
    slot = torch.where(real, batch.node_ptr[:-1].unsqueeze(1) + place, 0)
    mask = real.unsqueeze(2).to(dtype)
    adjacency, edge_sums, attributes = _dense_edges(encoder, context, slot, mask)
    child = (torch.arange(children, device=device) < tasks.children.unsqueeze(1)).to(dtype)
    moved = L2P(config).moved_dimensions(encoder, tasks, 0, 0)
    support, query = (
        _dense_links(tasks, links, (graphs, length, children), shift, dtype)
        for links, shift in zip((tasks.support, tasks.query), moved, strict=True)
    )
    return Dense(batch, slot, mask, adjacency, edge_sums, attributes, child, support, query)


def _dense_edges(encoder: Encoder, context: Context, slot: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (adjacency, edge_sums, attributes) of :class:`Dense`."""
    how, batch = _AGGREGATION[encoder.config.kind], context.batch
    (graphs, length), owner, first = slot.shape, row_graph(batch.node_ptr), batch.node_ptr[:-1]
    messages = context.looped if how == "gcn" else context.plain
    graph = owner[messages.target]
    target, source = messages.target - first[graph], messages.source - first[graph]
    matrix = context.neighbours(how).matrix.to_sparse_coo()
    row, column = matrix.indices()
    adjacency = mask.new_zeros(graphs, length, length)
    adjacency[owner[row], row - first[owner[row]], column - first[owner[row]]] = matrix.values().to(mask.dtype)
    if not encoder.schema.edge:
        return adjacency, mask[..., :0], mask.new_zeros(graphs, length * length, 0)
    edge_sums = context.edge_sums(how)[slot] * mask
    if encoder.config.kind != "gat":
        return adjacency, edge_sums, mask.new_zeros(graphs, length * length, 0)
    attributes = mask.new_zeros(graphs, length * length, edge_sums.shape[2])
    attributes[graph, target * length + source] = context.attributes(messages)
    return adjacency, edge_sums, attributes


def _dense_links(
    tasks: TaskBatch,
    links: EdgeSamples,
    shape: tuple[int, int, int],
    moved: Tensor | None,
    dtype: torch.dtype,
) -> DenseLinks:
    if moved is None:
        raise ValueError("the vmap variant supports negatives=shift only")
    graphs, length, children = shape
    starts, owner = tasks.batch.node_ptr[:-1], row_graph(tasks.batch.node_ptr)
    counts = torch.bincount(links.graph, minlength=graphs)
    at = torch.arange(links.graph.numel(), device=starts.device) - (counts.cumsum(0) - counts)[links.graph]
    ends = torch.zeros(graphs, int(counts.max()), 3, dtype=torch.int64, device=starts.device)
    picked = links.ends.matrix.col_indices().view(3, -1).t() - starts[links.graph].unsqueeze(1)
    ends[links.graph, at] = picked.clamp(0, length - 1)  # the placeholder of a missing negative may be in another graph
    weight = torch.zeros(*ends.shape[:2], 2, dtype=dtype, device=starts.device)
    weight[links.graph, at] = torch.stack([torch.ones_like(links.has_negative), links.has_negative], 1).to(dtype)
    members = torch.zeros(graphs, children + 1, length, dtype=dtype, device=starts.device)
    task, node = links.endpoints
    graph, first = tasks.child_graph[task], tasks.children.cumsum(0) - tasks.children
    members[graph, task - first[graph], node - starts[graph]] = 1
    members[owner, children, torch.arange(owner.numel(), device=starts.device) - starts[owner]] = 1
    return DenseLinks(ends, weight, members / members.sum(2, keepdim=True).clamp(min=1), moved)

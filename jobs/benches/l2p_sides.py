"""Baselines of an L2P step: one adaptation for the batch, plain link prediction, an explicit loop over graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch, slice_graphs
from distgnn.models.encoder import Encoder
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from distgnn.objectives.l2p.task_batch import TaskBatch
from distgnn.objectives.l2p.task_sampler import NAME


def link_step(encoder: Encoder, batch: GraphBatch) -> Tensor:
    """Return the loss of plain link prediction on the same support and query edges: one forward pass, node loss only."""
    tasks, nodes = TaskBatch(batch), encoder(batch)
    return tasks.support.node_loss(nodes).sum() + tasks.query.node_loss(nodes).sum()


def batch_shared_step(encoder: Encoder, batch: GraphBatch, config: L2PConfig) -> Tensor:
    """Return the loss of the released L2P-GNN code: one set of fast weights for the batch, mean inner loss, second order."""
    return explicit_step(encoder, batch, config, torch.mean)


def loop_losses(encoder: Encoder, graphs: Sequence[GraphBatch], config: L2PConfig) -> Iterator[Tensor]:
    """Yield the loss of each graph, with fast weights of its own, as in the paper.

    A caller that computes the gradient of each loss before the next keeps the activations of one graph in memory at a time.
    """
    return (explicit_step(encoder, graph, config, torch.sum) for graph in graphs)


def graphs_with_tasks(batch: GraphBatch) -> list[GraphBatch]:
    """Return the graphs with tasks, each as a batch. Not timed, since a data loader does it."""
    counts = batch.extras[NAME].ptr.diff().tolist()
    return [slice_graphs(batch, i, i + 1) for i, count in enumerate(counts) if count]


def explicit_step(encoder: Encoder, batch: GraphBatch, config: L2PConfig, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the query loss after one second-order step (s = t = 1) on psi and omega, shared by all graphs of ``batch``.

    Args:
        encoder: The encoder.
        batch: The graphs with their tasks.
        config: Options of L2P.
        reduce: Reduction of the losses of the support links. With torch.sum and one graph, the loss is that of the paper.
    """
    tasks, context = TaskBatch(batch), encoder.context(batch)
    objective = L2P(config)
    psi = {name: p for name, p in encoder.named_parameters() if name.startswith("psi.")}
    moved = objective.moved_dimensions(encoder, tasks, 0, 0)
    nodes = encoder(context)
    loss = reduce(tasks.support.node_loss(nodes))
    grads = torch.autograd.grad(loss, list(psi.values()), create_graph=True)
    fast = {name: p - config.node_lr * g for (name, p), g in zip(psi.items(), grads, strict=True)}
    omega = dict(encoder.named_parameters())["pooling.omega.weight"]
    pooled = encoder.readout(nodes, tasks.membership(tasks.support))
    graph_loss = objective.graph_loss(pooled @ omega.t(), tasks, moved[0])
    fast_omega = omega - config.graph_lr * torch.autograd.grad(graph_loss, omega, create_graph=True)[0]
    adapted = torch.func.functional_call(encoder, fast, (context,))
    pooled = encoder.readout(adapted, tasks.membership(tasks.query))
    share = 1 / tasks.children.to(adapted.dtype)
    node_loss = (tasks.query.node_loss(adapted) * share[tasks.query.graph]).sum()
    return node_loss + objective.graph_loss(pooled @ fast_omega.t(), tasks, moved[1])

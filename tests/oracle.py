"""L2P-GNN by the book: every graph owns a copy of psi and omega, adapted by autograd, with Python loops throughout.

Shares nothing with distgnn.learn.l2p but the task rows and the keyed shift. Statistics of the norm are taken within a stream
(ghost), everything (batch), a graph or a node; the summed support loss is differentiated with respect to each copy.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from distgnn.config import L2PConfig
from distgnn.graph.batch import GraphBatch
from distgnn.graph.keyed import key
from distgnn.learn.l2p import _SHIFT, shifted_dimensions
from distgnn.models.encoder import Encoder

Copies = list[dict[str, Tensor]]


def _graph_rows(batch: GraphBatch) -> list[slice]:
    ptr = batch.node_ptr.tolist()
    return [slice(low, high) for low, high in pairwise(ptr)]


def _groups(batch: GraphBatch, norm: str) -> list[slice]:
    ptr = batch.node_ptr.tolist()
    if norm == "graph":
        return _graph_rows(batch)
    if norm == "ghost" and batch.stream_ptr is not None:
        starts = [ptr[g] for g in batch.stream_ptr.tolist()]
        return [slice(low, high) for low, high in pairwise(starts)]
    return [slice(0, ptr[-1])]


def _normalise(x: Tensor, batch: GraphBatch, norm: str) -> Tensor:
    if norm == "layer":
        return (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, unbiased=False, keepdim=True) + 1e-5)
    parts = [x[group] for group in _groups(batch, norm)]
    return torch.cat([(p - p.mean(0)) / torch.sqrt(p.var(0, unbiased=False) + 1e-5) for p in parts])


def _messages(x: Tensor, batch: GraphBatch) -> Tensor:
    """Each node's own row plus its neighbours'."""
    out = list(x)
    for u, v in batch.edges.t().tolist():
        out[u], out[v] = out[u] + x[v], out[v] + x[u]
    return torch.stack(out)


def _edge_sums(encoder: Encoder, batch: GraphBatch) -> Tensor:
    """Per node: summed one-hot and dense attributes of its edges, and their number."""
    features = encoder.schema.edge
    width = sum(f.size for f in features) + 1
    out = torch.zeros(batch.num_nodes, width, dtype=encoder.omega.weight.dtype)
    cat_sizes = [f.size for f in features if f.kind == "categorical"]
    for e, (u, v) in enumerate(batch.edges.t().tolist()):
        row, at = torch.zeros(width, dtype=out.dtype), 0
        for column, size in enumerate(cat_sizes):
            row[at + int(batch.edge_cat[e, column])] = 1
            at += size
        row[at:-1] = batch.edge_dense[e].to(out.dtype)
        row[-1] = 1
        out[u] += row
        out[v] += row
    return out


def forward(encoder: Encoder, batch: GraphBatch, psi: Copies) -> Tensor:
    """Node embeddings [N, width] with graph g's layers taken from psi[g]."""
    norm, rows = encoder.config.norm, _graph_rows(batch)

    def each(x: Tensor, weight: str, bias: str | None) -> Tensor:
        done = [x[r] @ psi[g][weight].t() + (psi[g][bias] if bias else 0) for g, r in enumerate(rows)]
        return torch.cat(done)

    x = encoder.embed(batch)
    sums = _edge_sums(encoder, batch)
    for i in range(encoder.config.layers):
        total = _messages(x, batch)
        if f"layers.{i}.edge.weight" in psi[0]:
            total = total + each(sums, f"layers.{i}.edge.weight", None)
        hidden = _normalise(each(total, f"layers.{i}.lift.weight", f"layers.{i}.lift.bias"), batch, norm)
        gain, shift = f"layers.{i}.norm.scale.weight", f"layers.{i}.norm.scale.bias"
        hidden = torch.cat([hidden[r] * psi[g][gain] + psi[g][shift] for g, r in enumerate(rows)])
        x = each(torch.relu(hidden), f"layers.{i}.project.weight", f"layers.{i}.project.bias")
        x = torch.relu(x) if i + 1 < encoder.config.layers else x
    return x


def _tasks(batch: GraphBatch, g: int, query: bool) -> list[list[tuple[int, int, int]]]:
    """Child tasks of graph g: lists of (u, v, v' or -1), batch-absolute."""
    extra = batch.extras["l2p"]
    start = int(batch.node_ptr[g])
    rows = extra.values[int(extra.ptr[g]) : int(extra.ptr[g + 1])].tolist()
    children = max((row[3] for row in rows), default=-1) + 1
    wanted = [(r[0] + start, r[1] + start, -1 if r[2] < 0 else r[2] + start, r[3]) for r in rows if bool(r[4]) == query]
    return [[(u, v, n) for u, v, n, c in wanted if c == child] for child in range(children)]


def _node_loss(h: Tensor, edges: list[tuple[int, int, int]]) -> Tensor:
    total = h.new_zeros(())
    for u, v, n in edges:
        total = total - torch.nn.functional.logsigmoid(h[u] @ h[v])
        if n >= 0:
            total = total - torch.nn.functional.logsigmoid(-(h[u] @ h[n]))
    return total


def _pool(encoder: Encoder, rows: Tensor, omega: Tensor) -> Tensor:
    return omega @ (rows.mean(0) if encoder.config.pooling == "mean" else rows.sum(0))


def _next_in_stream(batch: GraphBatch, g: int, usable: list[int]) -> int:
    ptr = [0, batch.num_graphs] if batch.stream_ptr is None else batch.stream_ptr.tolist()
    stream = next(i for i in range(len(ptr) - 1) if ptr[i] <= g < ptr[i + 1])
    mates = [other for other in usable if ptr[stream] <= other < ptr[stream + 1]]
    return mates[(mates.index(g) + 1) % len(mates)]


def _graph_losses(
    encoder: Encoder, batch: GraphBatch, h: Tensor, omega: list[Tensor], query: bool, config: L2PConfig, draw
):
    rows = _graph_rows(batch)
    usable = [g for g in range(batch.num_graphs) if _tasks(batch, g, query)]
    whole = {g: _pool(encoder, h[rows[g]], omega[g]) for g in usable}
    losses = {}
    for g in usable:
        if config.negatives == "other":
            negative = whole[_next_in_stream(batch, g, usable)]
        else:
            ids = batch.graph_id[g : g + 1].numpy().astype("uint64")
            negative = whole[g][torch.from_numpy(shifted_dimensions(draw(int(query)), ids, encoder.width)[0])]
        losses[g] = h.new_zeros(())
        for edges in _tasks(batch, g, query):
            ends = sorted({u for u, _, _ in edges} | {v for _, v, _ in edges})
            part = _pool(encoder, h[ends], omega[g])
            losses[g] = losses[g] - torch.nn.functional.logsigmoid(part @ whole[g])
            losses[g] = losses[g] - torch.nn.functional.logsigmoid(-(part @ negative))
    return losses


def _descend(copies: Copies, loss: Tensor, lr: float, order: int) -> Copies:
    flat = [tensor for copy in copies for tensor in copy.values()]
    grads = iter(torch.autograd.grad(loss, flat, create_graph=order == 2, retain_graph=True, materialize_grads=True))
    return [{name: tensor - lr * next(grads) for name, tensor in copy.items()} for copy in copies]


def l2p_total(encoder: Encoder, batch: GraphBatch, config: L2PConfig, seed: int, epoch: int) -> Tensor:
    """Query loss after adaptation, summed over graphs (Eq. 12)."""
    graphs = range(batch.num_graphs)
    shared = {n: p for n, p in encoder.named_parameters() if n.startswith("layers.")}
    psi: Copies = [{name: p * 1.0 for name, p in shared.items()} for _ in graphs]
    omega: Copies = [{"omega": encoder.omega.weight * 1.0} for _ in graphs]

    def draw(side: int) -> int:
        return key(seed, _SHIFT, epoch, side)

    prior = h = forward(encoder, batch, psi)
    for _ in range(config.node_steps):
        loss = sum((_node_loss(h, c) for g in graphs for c in _tasks(batch, g, False)), h.new_zeros(()))
        psi = _descend(psi, loss, config.node_lr, config.order)
        h = forward(encoder, batch, psi)
    for _ in range(config.graph_steps):
        per_graph = _graph_losses(encoder, batch, prior, [o["omega"] for o in omega], False, config, draw)
        omega = _descend(omega, sum(per_graph.values(), prior.new_zeros(())), config.graph_lr, config.order)
    total = sum(
        _graph_losses(encoder, batch, h, [o["omega"] for o in omega], True, config, draw).values(), h.new_zeros(())
    )
    for g in graphs:
        children = _tasks(batch, g, True)
        for edges in children:
            total = total + _node_loss(h, edges) / len(children)
    return total

"""Per-graph L2P step by torch.func.vmap over padded graphs with dense adjacency, with torch.func.grad inside.

Requires a norm without statistics over nodes (layer), because of padded rows. One inner step (s = t = 1).
"""

from __future__ import annotations

from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from distgnn.models.encoder import Encoder
from distgnn.objectives.l2p.objective import L2PConfig

from .dense import Dense, DenseContext

Weights = dict[str, Tensor]


def vmap_step(encoder: Encoder, dense: Dense, config: L2PConfig) -> Tensor:
    """Return the query loss after one second-order step on psi and omega of each graph, summed over graphs."""
    psi: Weights = {name: p for name, p in encoder.named_parameters() if name.startswith("psi.")}
    omega = dict(encoder.named_parameters())["pooling.omega.weight"]
    inputs = encoder.embed(dense.packed)[dense.slot] * dense.real

    def one(x: Tensor, edges: tuple[Tensor, ...], child: Tensor, support: Weights, query: Weights) -> Tensor:
        def embed(weights: Weights) -> Tensor:
            return functional_call(encoder, weights, (DenseContext(*edges),), {"inputs": x})

        def inner(weights: Weights) -> tuple[Tensor, Tensor]:
            nodes = embed(weights)
            return _node_loss(nodes, support), nodes

        grads, nodes = grad(inner, has_aux=True)(psi)
        adapted = embed({name: p - config.node_lr * grads[name] for name, p in psi.items()})
        fast_omega = omega - config.graph_lr * grad(_graph_loss)(omega, nodes, support, child)
        return _node_loss(adapted, query) / child.sum() + _graph_loss(fast_omega, adapted, query, child)

    edges = dense.adjacency, dense.edge_sums, dense.attributes
    return vmap(one)(inputs, edges, dense.child, dict(vars(dense.support)), dict(vars(dense.query))).sum()


def _node_loss(nodes: Tensor, links: Weights) -> Tensor:
    anchor, positive, negative = (nodes[links["ends"][:, column]] for column in range(3))
    weight = links["weight"]
    terms = (
        F.softplus(-(anchor * positive).sum(1)) * weight[:, 0] + F.softplus((anchor * negative).sum(1)) * weight[:, 1]
    )
    return terms.sum()


def _graph_loss(omega: Tensor, nodes: Tensor, links: Weights, child: Tensor) -> Tensor:
    pooled = links["members"] @ nodes @ omega.t()
    parts, graph = pooled[:-1], pooled[-1]
    positive, negative = parts @ graph, parts @ graph.gather(0, links["moved"])
    return ((F.softplus(-positive) + F.softplus(negative)) * child).sum()

"""LightGCN (He et al., "LightGCN: simplifying and powering graph convolution network for recommendation", SIGIR 2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn.graph.keyed import below, draw, key, permutation
from distgnn.graph.purposes import NetworkDraw
from distgnn.models.ops.sparse import SparseMap

WIDTH, LAYERS, DECAY = 64, 3, 1e-4
"""As published: size of the embeddings, layers, and L2 penalty on the initial embeddings of a batch."""
LR, BATCH, EPOCHS, PATIENCE = 5e-3, 2048, 100, 10
_SCALE = 0.1
Ints = npt.NDArray[np.int64]
Factors = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


def train_light_gcn(trained: Any, score: Callable[[Factors], float]) -> Factors:
    """Train on positives by the BPR loss; a function of the arguments.

    Every positive of an epoch has one negative, drawn among all items; a draw that is a positive is left out.

    Args:
        trained: Sparse matrix [users, items], the positives.
        score: Validation score of the embeddings. The epoch with the best one is taken; training stops after PATIENCE epochs
            without a better one.

    Returns:
        The embeddings of users [users, WIDTH] and items [items, WIDTH]; the score of a pair is their dot product.
    """
    users, items = trained.shape
    user, item = (ids.astype(np.int64) for ids in trained.nonzero())
    propagate = propagation(user, item, users, items)
    generator = torch.Generator().manual_seed(key(0, NetworkDraw.LIGHT_GCN) >> 1)
    start = torch.nn.Parameter(_SCALE * torch.randn(users + items, WIDTH, generator=generator))
    optimiser = torch.optim.Adam([start], LR, fused=True)
    best, found, waited = -np.inf, _factors(propagate(start), users), 0
    for epoch in range(EPOCHS):
        for rows in _batches(user, item, items, key(0, NetworkDraw.LIGHT_GCN, epoch)):
            optimiser.zero_grad()
            _loss(start, propagate(start), rows, users).backward()
            optimiser.step()
        factors = _factors(propagate(start), users)
        value, waited = score(factors), waited + 1
        if value > best:
            best, found, waited = value, factors, 0
        if waited >= PATIENCE:
            break
    return found


def propagation(user: Ints, item: Ints, users: int, items: int) -> Callable[[Tensor], Tensor]:
    """Return the map [users + items, d] -> [users + items, d]: the mean of A^l x over l = 0..LAYERS, A = D^-1/2 (edges) D^-1/2."""
    source, target = np.concatenate([user, item + users]), np.concatenate([item + users, user])
    degree = np.bincount(target, minlength=users + items).astype(np.float64)
    weight = 1 / np.sqrt(degree[source] * degree[target])
    columns = torch.from_numpy(target), torch.from_numpy(source), (users + items, users + items)
    adjacency = SparseMap.from_pairs(*columns, symmetric=True, values=torch.from_numpy(weight).float())

    def propagate(x: Tensor) -> Tensor:
        total = x
        for _ in range(LAYERS):
            x = adjacency(x)
            total = total + x
        return total / (LAYERS + 1)

    return propagate


def _batches(user: Ints, item: Ints, items: int, epoch_key: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return (users, positive items, negative items) of the batches of an epoch."""
    order = permutation(epoch_key, len(user))
    user, item = user[order], item[order]
    other = below(
        draw(key(epoch_key, NetworkDraw.LIGHT_GCN_NEGATIVES), np.arange(len(user))), np.full(len(user), items)
    )
    kept = ~np.isin(user * items + other, user * items + item)
    columns = [torch.from_numpy(ids[kept]).split(BATCH) for ids in (user, item, other)]
    return list(zip(*columns, strict=True))


def _loss(start: Tensor, x: Tensor, rows: tuple[Tensor, Tensor, Tensor], users: int) -> Tensor:
    user, item, other = (SparseMap.select(ids, len(x)) for ids in (rows[0], rows[1] + users, rows[2] + users))
    penalty = torch.stack([pick(start).square().sum() for pick in (user, item, other)]).sum() / (2 * len(rows[0]))
    margin = (user(x) * (item(x) - other(x))).sum(1)
    return F.softplus(-margin).mean() + DECAY * penalty


def _factors(x: Tensor, users: int) -> Factors:
    of_users, of_items = x.detach().split([users, len(x) - users])
    return of_users.numpy(), of_items.numpy()

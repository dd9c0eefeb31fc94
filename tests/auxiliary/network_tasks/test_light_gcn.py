"""LightGCN against PyG's, and on planted ratings."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch_geometric.nn import LightGCN

from distgnn.auxiliary.network_tasks.light_gcn import LAYERS, WIDTH, Factors, propagation, train_light_gcn


def test_propagation_equals_pyg() -> None:
    user, item = np.array([0, 0, 1, 2, 3, 3]), np.array([0, 1, 1, 2, 0, 2])
    model = LightGCN(7, WIDTH, LAYERS)
    ends = torch.from_numpy(np.stack([np.r_[user, item + 4], np.r_[item + 4, user]]))
    found = propagation(user, item, 4, 3)(model.embedding.weight)
    torch.testing.assert_close(found, model.get_embedding(ends))


def test_planted_groups_are_ranked_first() -> None:
    """Users of two groups rate items of their own group; a fifth of the pairs is held out."""
    group = np.arange(40) % 2
    every = np.argwhere(group[:, None] == group)
    kept = np.random.default_rng(0).random(len(every)) < 0.8
    trained = sp.csr_matrix((np.ones(kept.sum()), every[kept].T), shape=(40, 40))
    user, item = every[~kept].T
    other = group != group[user][:, None]
    seen: list[float] = []

    def score(factors: Factors) -> float:
        table = factors[0] @ factors[1].T
        seen.append(float((table[user, item][:, None] > table[user])[other].mean()))
        return seen[-1]

    best = train_light_gcn(trained, score)
    assert score(best) > 0.99
    assert seen[-1] == max(seen)

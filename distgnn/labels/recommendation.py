"""Full ranking of items for users: recall and NDCG of the first items among all that the user has not rated before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
CUTOFF, _USERS = 20, 512
RANKING = f"recall@{CUTOFF}", f"ndcg@{CUTOFF}"
"""Names of the metrics of :func:`ranking_scores`."""


def ranking_scores(known: sp.csr_matrix, wanted: sp.csr_matrix, score: Callable[[Ints], Floats]) -> dict[str, float]:
    """Compute recall@20 and NDCG@20 over all items, means over the users with wanted items; NaN without such users.

    All items but the known ones are candidates. Recall is the share of the wanted items among the first 20; NDCG has binary
    relevance, the discount 1 / log2(1 + rank), and the best order as its norm.

    Args:
        known: Bool [users, items], ratings that the model was trained on; they are left out of the ranking.
        wanted: Bool [users, items], the positives of the part.
        score: Maps users [u], at most 512, to the scores of all items [u, items].
    """
    users = np.flatnonzero(np.diff(wanted.indptr))
    if not len(users):
        return dict.fromkeys(RANKING, float("nan"))
    recalls, gains = zip(*_of_users(known, wanted, score, users), strict=True)
    values = np.concatenate(recalls).mean(), np.concatenate(gains).mean()
    return dict(zip(RANKING, map(float, values), strict=True))


def _of_users(
    known: Any, wanted: Any, score: Callable[[Ints], Floats], users: Ints
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Yield (recall, NDCG) of chunks of users."""
    count = min(CUTOFF, wanted.shape[1])
    discount = 1 / np.log2(np.arange(2, count + 2))
    for start in range(0, len(users), _USERS):
        chunk = users[start : start + _USERS]
        scores = np.array(score(chunk), np.float64)
        scores[known[chunk].nonzero()] = -np.inf
        first = np.argpartition(-scores, count - 1, axis=1)[:, :count] if count < scores.shape[1] else None
        first = np.tile(np.arange(count), (len(chunk), 1)) if first is None else first
        order = np.argsort(-np.take_along_axis(scores, first, 1), axis=1, kind="stable")
        first = np.take_along_axis(first, order, 1)
        hit = np.take_along_axis(wanted[chunk].toarray(), first, 1)
        total = np.diff(wanted[chunk].indptr)
        best = np.cumsum(discount)[np.minimum(total, count) - 1]
        yield hit.sum(1) / total, (hit * discount).sum(1) / best

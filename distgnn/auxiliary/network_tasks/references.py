"""References of link prediction that read the ratings only: popularity, a truncated SVD, and LightGCN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.extmath import randomized_svd

from distgnn.auxiliary.network_tasks.light_gcn import train_light_gcn
from distgnn.auxiliary.network_tasks.links import Links
from distgnn.auxiliary.problem import Rows
from distgnn.labels.ranking import link_scores
from distgnn.labels.recommendation import ranking_scores

FACTORS = 8, 16, 32, 64
"""Numbers of factors; the one with the best validation AUC is taken."""
Floats = npt.NDArray[np.floating[Any]]
Scores = dict[str, float]
OfPairs = Callable[[Rows, Rows], Floats]
"""Maps users and items [n], counted within their types, to scores [n]."""
OfUsers = Callable[[Rows], Floats]
"""Maps users [u] to the scores of all items [u, items]."""
POPULARITY, FACTORISATION, LIGHT_GCN = "popularity", "matrix factorisation", "LightGCN"


def link_references(links: Links) -> dict[str, Scores]:
    """Return the test scores of models that read the training positives only.

    - popularity: the number of training positives of the item.
    - matrix factorisation: PureSVD, the truncated singular value decomposition of the matrix of training positives (Cremonesi
      et al., RecSys 2010), with the number of factors of the best validation AUC.
    - LightGCN: see :func:`train_light_gcn`; the epoch by validation AUC.
    """
    trained: Any = links.matrix(("train",)).astype(np.float64)
    counts = np.asarray(trained.sum(0)).reshape(-1)
    popular = _scores(links, "test", lambda _, items: counts[items], lambda users: np.tile(counts, (len(users), 1)))

    def validation(factors: tuple[Floats, Floats]) -> float:
        return _pair_scores(links, "val", _products(*factors)[0])["auc"]

    made = [_factorised(trained, factors) for factors in FACTORS if factors < min(trained.shape)]
    found = {FACTORISATION: max(made, key=validation)} if made else {}
    found[LIGHT_GCN] = train_light_gcn(trained, validation)
    return {POPULARITY: popular} | {name: _scores(links, "test", *_products(*one)) for name, one in found.items()}


def _factorised(trained: Any, factors: int) -> tuple[Floats, Floats]:
    left, values, right = randomized_svd(trained, factors, random_state=0)
    return left * values, right.T


def _products(user: Floats, item: Floats) -> tuple[OfPairs, OfUsers]:
    """Return the scores of a model whose score of a pair is the dot product of a user's and an item's factors."""
    return lambda users, items: (user[users] * item[items]).sum(1), lambda users: user[users] @ item.T


def _scores(links: Links, part: str, of_pairs: OfPairs, of_users: OfUsers) -> Scores:
    """Return all metrics of :class:`LinkTarget` on a part."""
    ranking = ranking_scores(links.known(part), links.wanted(part), of_users)
    return _pair_scores(links, part, of_pairs) | ranking


def _pair_scores(links: Links, part: str, of_pairs: OfPairs) -> Scores:
    rows = links.parts[part]
    user, item = links.user[rows] - links.users.start, links.item[rows] - links.items.start
    return link_scores(user, links.label[rows], of_pairs(user, item))

"""Ranking metrics: ROC-AUC of links, pooled and per user, and F1, MRR and NDCG of node classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.metrics import f1_score, ndcg_score, roc_auc_score

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def link_scores(users: Ints, labels: Ints, scores: Floats) -> dict[str, float]:
    """Compute "auc", the ROC-AUC over all rows, and "user_auc", its mean over users; NaN if undefined.

    Shape:
        users: [n], arbitrary ids.
        labels: [n], 0 or 1.
        scores: [n], higher = more likely 1.
    """
    both = 0 < int(labels.sum()) < len(labels)
    pooled = float(roc_auc_score(labels, scores)) if both else float("nan")
    return {"auc": pooled, "user_auc": user_auc(users, labels, scores)}


def user_auc(users: Ints, labels: Ints, scores: Floats) -> float:
    """Return the mean over users of the ROC-AUC of their rows (ties count half).

    Users with a single label are left out; NaN if no user has both labels. Arguments as in :func:`link_scores`.
    """
    if not len(users):
        return float("nan")
    _, user = np.unique(users, return_inverse=True)
    positive, rows = labels == 1, np.bincount(user)
    ranks = _ranks_within(user, scores, rows)
    positives = np.bincount(user[positive], minlength=len(rows))
    pairs = positives * (rows - positives)
    won = np.bincount(user[positive], weights=ranks[positive], minlength=len(rows)) - positives * (positives + 1) / 2
    told = pairs > 0
    return float(np.mean(won[told] / pairs[told])) if told.any() else float("nan")


def _ranks_within(group: Ints, scores: Floats, rows: Ints) -> npt.NDArray[np.float64]:
    """Return float64 [n]: the rank of each row in its group, counted from 1; ties share the mean of their ranks.

    All rows are ranked at once with the group as the first key, so each group's ranks are contiguous.
    """
    dense = rankdata(scores, method="dense").astype(np.int64)
    ranks = rankdata(group * (int(dense.max()) + 1) + dense)
    return ranks - (np.cumsum(rows) - rows)[group]


def class_scores(relevant: Bools, scores: Floats) -> dict[str, float]:
    """Compute "micro_f1" and "macro_f1" of the top class, and "mrr" and "ndcg" of the ranking of all classes.

    F1 takes the class with the highest score as the prediction. It is correct if the node has this class; otherwise the
    true class is the node's first one.

    Shape:
        relevant: bool [n, C], the classes of each node, at least one.
        scores: [n, C], C > 1.
    """
    best, first = scores.argmax(1), relevant.argmax(1)
    truth = np.where(relevant[np.arange(len(best)), best], best, first)
    return {
        "micro_f1": float(f1_score(truth, best, average="micro")),
        "macro_f1": float(f1_score(truth, best, average="macro")),
        **label_scores(relevant, scores),
    }


def label_scores(relevant: Bools, scores: Floats) -> dict[str, float]:
    """Compute "mrr" and "ndcg" of the ranking of all classes, means over nodes; arguments as in :func:`class_scores`.

    NDCG uses the usual discount 1 / log2(1 + rank); classes with equal scores share theirs. GPT-GNN's function, which
    AUX-TS used for its published numbers, does not discount rank 2 and therefore gives other values.
    """
    return {"mrr": mean_reciprocal_rank(relevant, scores), "ndcg": float(ndcg_score(relevant, scores))}


def mean_reciprocal_rank(relevant: Bools, scores: Floats) -> float:
    """Return the mean of :func:`reciprocal_ranks`."""
    return float(np.mean(reciprocal_ranks(relevant, scores)))


def reciprocal_ranks(relevant: Bools, scores: Floats) -> npt.NDArray[np.float64]:
    """Return 1 / rank of the first relevant class of each node; an irrelevant class with the same score ranks before it."""
    best = np.where(relevant, scores, -np.inf).max(1, keepdims=True)
    return 1 / (1 + (~relevant & (scores >= best)).sum(1))

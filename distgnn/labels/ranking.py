"""How well rows are ranked: links pooled over users and user by user, and classes of nodes."""

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
    """ "auc": ROC-AUC over all rows at once; "user_auc": its mean over users that have rows of both labels.

    users: [n], any ids. labels: [n], 0 or 1. scores: [n], higher = more likely 1. NaN where the rows cannot tell.
    """
    both = 0 < int(labels.sum()) < len(labels)
    pooled = float(roc_auc_score(labels, scores)) if both else float("nan")
    return {"auc": pooled, "user_auc": user_auc(users, labels, scores)}


def user_auc(users: Ints, labels: Ints, scores: Floats) -> float:
    """Mean over users of the ROC-AUC of their own rows (ties count half); users with one label only are left out.

    NaN where no user has both labels. Arguments as in :func:`link_scores`.
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
    """float64 [n]: each row's rank among its group's, from 1; equal scores share the mean of their ranks.

    One ranking of all rows does: dense ranks put group before group, and a group's ranks lie together.
    """
    dense = rankdata(scores, method="dense").astype(np.int64)
    ranks = rankdata(group * (int(dense.max()) + 1) + dense)
    return ranks - (np.cumsum(rows) - rows)[group]


def class_scores(relevant: Bools, scores: Floats) -> dict[str, float]:
    """Metrics of nodes' classes: "micro_f1", "macro_f1" (of the highest class), "mrr" and "ndcg" (of all classes' order).

    relevant: [n, C], the classes a node has, at least one. scores: [n, C], C > 1. F1 takes the highest scored class as the
    prediction, which is right where the node has it; the other one of ``relevant`` is its first.
    """
    best, first = scores.argmax(1), relevant.argmax(1)
    truth = np.where(relevant[np.arange(len(best)), best], best, first)
    return {
        "micro_f1": float(f1_score(truth, best, average="micro")),
        "macro_f1": float(f1_score(truth, best, average="macro")),
        **label_scores(relevant, scores),
    }


def label_scores(relevant: Bools, scores: Floats) -> dict[str, float]:
    """ "mrr" and "ndcg" of all classes' order, means over nodes; arguments as in :func:`class_scores`.

    NDCG has the usual discount 1 / log2(1 + rank), classes of equal score share theirs. GPT-GNN's own function, by which
    AUX-TS's numbers were measured, does not discount rank 2 either, and so gives others.
    """
    return {"mrr": mean_reciprocal_rank(relevant, scores), "ndcg": float(ndcg_score(relevant, scores))}


def mean_reciprocal_rank(relevant: Bools, scores: Floats) -> float:
    """Mean of 1 / rank of the first relevant class; an irrelevant class with the same score goes before it."""
    best = np.where(relevant, scores, -np.inf).max(1, keepdims=True)
    return float(np.mean(1 / (1 + (~relevant & (scores >= best)).sum(1))))

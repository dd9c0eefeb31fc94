"""Ranking metrics against slow references and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distgnn.labels.ranking import class_scores, label_scores, link_scores, mean_reciprocal_rank, user_auc

rows = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(-3, 3)), min_size=1, max_size=40)


def arrays(found: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    users, labels, scores = (np.array(column) for column in zip(*found, strict=True))
    return users * 10**9 - 7, labels, scores / 8


def slow_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Share of (positive, negative) pairs in order, equal scores counting half."""
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[labels == 1] for n in scores[labels == 0]]
    return float(np.mean(pairs)) if pairs else math.nan


@given(rows)
def test_link_scores_equal_the_count_of_pairs(found: list[tuple[int, int, int]]) -> None:
    users, labels, scores = arrays(found)
    each = [slow_auc(labels[users == user], scores[users == user]) for user in set(users.tolist())]
    told = [value for value in each if not math.isnan(value)]
    got = link_scores(users, labels, scores)
    assert got["auc"] == pytest.approx(slow_auc(labels, scores), nan_ok=True)
    assert got["user_auc"] == pytest.approx(float(np.mean(told)) if told else math.nan, nan_ok=True)


def test_users_with_one_label_and_no_rows() -> None:
    users, labels, scores = np.array([1, 1, 2, 3, 3]), np.array([1, 1, 0, 0, 1]), np.array([0.1, 0.9, 0.5, 0.3, 0.2])
    assert user_auc(users, labels, scores) == 0
    assert math.isnan(user_auc(users[:3], labels[:3], scores[:3]))
    empty = np.zeros(0, np.int64)
    assert all(math.isnan(value) for value in link_scores(empty, empty, np.zeros(0)).values())


def test_pooled_is_not_user_by_user() -> None:
    users, labels, scores = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.8, 0.9])
    assert link_scores(users, labels, scores) == {"auc": 0.75, "user_auc": 1.0}


def test_float32_scores_that_differ_little_are_not_ties() -> None:
    scores = np.array([1.0, np.nextafter(np.float32(1), np.float32(2))], np.float32)
    assert user_auc(np.zeros(2, np.int64), np.array([0, 1]), scores) == 1


def test_class_scores_by_hand() -> None:
    relevant = np.eye(3, dtype=bool)[[0, 1, 2, 2]]
    scores = np.array([[3.0, 2, 1], [3, 2, 1], [3, 2, 1], [1, 2, 3]])
    got = class_scores(relevant, scores)
    assert got["micro_f1"] == 0.5
    assert got["macro_f1"] == pytest.approx((0.5 + 0 + 2 / 3) / 3)
    assert got["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1) / 4)
    assert got["ndcg"] == pytest.approx((1 + 1 / math.log2(3) + 1 / 2 + 1) / 4)


def test_several_relevant_classes_and_ties() -> None:
    relevant = np.array([[True, False, True], [False, True, False]])
    assert mean_reciprocal_rank(relevant, np.array([[1.0, 2, 3], [5, 5, 4]])) == pytest.approx((1 + 1 / 2) / 2)
    got = class_scores(relevant, np.array([[1.0, 2, 3], [5, 6, 4]]))
    assert (got["micro_f1"], got["mrr"]) == (1, 1)


def slow_label_scores(relevant: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """By walking down each node's classes; classes of equal score share the mean of their discounts."""
    reciprocal, gain = [], []
    for truth, values in zip(relevant.tolist(), scores.tolist(), strict=True):
        order = sorted(values, reverse=True)
        discount = [1 / math.log2(2 + place) for place in range(len(values))]
        shared = {v: np.mean([d for d, w in zip(discount, order, strict=True) if w == v]) for v in values}
        best = max(v for v, true in zip(values, truth, strict=True) if true)
        reciprocal.append(1 / (1 + sum(v >= best and not true for v, true in zip(values, truth, strict=True))))
        got = sum(shared[v] for v, true in zip(values, truth, strict=True) if true)
        gain.append(got / sum(discount[: sum(truth)]))
    return {"mrr": float(np.mean(reciprocal)), "ndcg": float(np.mean(gain))}


node = st.lists(st.tuples(st.booleans(), st.integers(-2, 2)), min_size=5, max_size=5).filter(
    lambda n: any(t for t, _ in n)
)


@given(st.lists(node, min_size=1, max_size=6))
def test_label_scores_equal_the_walk_down_the_ranks(found: list[list[tuple[bool, int]]]) -> None:
    table = np.array(found)
    relevant, scores = table[:, :, 0].astype(bool), table[:, :, 1] / 4
    assert label_scores(relevant, scores) == pytest.approx(slow_label_scores(relevant, scores))

"""Keyed choice in every group at once, against sorting one group at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.graph.keyed import draw
from distgnn.objectives.keyed_choice import first_of_each, numbered


def slow(words: np.ndarray, ptr: np.ndarray, counts: np.ndarray) -> list[int]:
    found: list[int] = []
    for low, high, count in zip(ptr[:-1], ptr[1:], counts, strict=True):
        found += sorted(range(low, high), key=lambda row: words[row])[:count]
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 70)), max_size=8), st.integers(0, 10**6))
def test_first_of_each_against_sorting(groups: list[tuple[int, int]], seed: int) -> None:
    """Also for counts larger than the group."""
    sizes, counts = np.array(groups, np.int64).reshape(-1, 2).T
    ptr = np.concatenate([[0], np.cumsum(sizes)])
    words = draw(seed, np.arange(ptr[-1]))
    assert first_of_each(words, ptr, counts).tolist() == slow(words, ptr, counts)


@pytest.mark.parametrize("shift", [0, 8, 40])
def test_extreme_words_do_not_break_the_threshold(shift: int) -> None:
    """A threshold on the words would select no row, or all."""
    ptr, counts = np.array([0, 50, 100, 103]), np.array([3, 50, 1])
    small = draw(1, np.arange(103)) >> np.uint64(shift)
    for words in (small, ~small):
        assert first_of_each(words, ptr, counts).tolist() == slow(words, ptr, counts)


def test_numbered() -> None:
    owner, rank = numbered(np.array([2, 0, 3]))
    assert owner.tolist() == [0, 0, 2, 2, 2]
    assert rank.tolist() == [0, 1, 0, 1, 2]

"""Draws of a labelled corpus: repeated keyed splits into test graphs and an ordered pool of graphs to learn from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distgnn.graph.keyed import draw, key
from distgnn.graph.purposes import LabelDraw

Rows = npt.NDArray[np.int64]


class Draw(NamedTuple):
    """One draw. The n graphs to learn from are the first n of the pool, so that fewer are a subset of more.

    Attributes:
        test: int64, ascending rows of the test graphs.
        pool: int64, all other rows in the order of the draw.
    """

    test: Rows
    pool: Rows


def draw_random(rows: Rows, ids: npt.NDArray[np.int64], test: int, seed: int, number: int) -> Draw:
    """Draw test graphs and the order of the pool uniformly at random.

    Args:
        rows: int64 [R], the graphs to draw from.
        ids: int64 [R], their graph ids, the keys of all randomness. The draw does not depend on their order.
        test: Number of test graphs.
        seed: Key of all draws.
        number: The draw.
    """
    order = rows[np.argsort(_words(ids, seed, number))]
    return Draw(np.sort(order[:test]), order[test:])


def draw_stratified(
    rows: Rows, ids: npt.NDArray[np.int64], strata: npt.NDArray[np.int64], test: int, seed: int, number: int
) -> Draw:
    """Like :func:`draw_random`, with the share of each class in the test graphs and in every beginning of the pool.

    Args:
        rows, ids, test, seed, number: See :func:`draw_random`.
        strata: int64 [R], class of each graph.
    """
    order = np.argsort(_words(ids, seed, number))
    order = order[_interleaved(strata[order])]
    chosen, rest = order[:test], order[test:]
    return Draw(np.sort(rows[chosen]), rows[rest[_interleaved(strata[rest])]])


def _interleaved(strata: npt.NDArray[np.int64]) -> Rows:
    """Return the order in which the k-th of n rows of a class comes at (k + 1/2) / n; rows of a class keep their order."""
    _, number, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    by_class = np.argsort(number, kind="stable")
    rank = np.empty(len(strata), np.int64)
    rank[by_class] = np.arange(len(strata)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.argsort((rank + 0.5) / sizes[number], kind="stable")


def draw_groups(
    rows: Rows, ids: npt.NDArray[np.int64], groups: npt.NDArray[np.object_], test: int, seed: int, number: int
) -> Draw:
    """Draw whole groups, in random order, to the test graphs while they fit; the pool is all others in random order.

    A group that does not fit any more is left to the pool and smaller ones fill the rest, so small groups are tested
    somewhat more often; there may be fewer test graphs than asked for.

    Args:
        rows, ids, test, seed, number: See :func:`draw_random`.
        groups: str or None, [R], such as scaffolds; a graph without a group is a group of its own.
    """
    words = _words(ids, seed, number)
    names = np.array(
        [f"graph {graph}" if group is None else f"group {group}" for group, graph in zip(groups, ids, strict=True)]
    )
    _, member, sizes = np.unique(names, return_inverse=True, return_counts=True)
    smallest = np.full(len(sizes), np.iinfo(np.int64).max)
    np.minimum.at(smallest, member, ids)  # names a group by an id, so that its place is uniform whatever its size
    order = np.argsort(draw(key(seed, LabelDraw.DRAW_GROUPS, number), smallest))
    chosen, left = np.zeros(len(sizes), dtype=bool), test
    for group in order:
        if sizes[group] <= left:
            chosen[group] = True
            left -= int(sizes[group])
    tested = chosen[member]
    outside = rows[~tested]
    return Draw(np.sort(rows[tested]), outside[np.argsort(words[~tested])])


def _words(ids: npt.NDArray[np.int64], seed: int, number: int) -> npt.NDArray[np.uint64]:
    return draw(key(seed, LabelDraw.DRAW_ORDER, number), ids)

"""Keyed sampling without replacement from the rows of every graph at once, without a loop over graphs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distgnn.graph.batch import GraphBatch
from distgnn.graph.keyed import UInt64, draw, key

Int = npt.NDArray[np.int64]


def graph_keys(graphs: GraphBatch, seed: int, purpose: int, epoch: int) -> UInt64:
    """Return [G]: a key for each graph that depends on its id only, not on the batch or the order of graphs."""
    return draw(key(seed, purpose, epoch), graphs.graph_id.numpy().view(np.uint64))


def numbered(counts: Int) -> tuple[Int, Int]:
    """Return (group of each row, its index within the group), int64 [sum of counts] each; counts: int64 [groups]."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)


def first_of_each(words: UInt64, ptr: Int, counts: Int) -> Int:
    """Sample ``counts[g]`` rows of each group g (rows ptr[g]:ptr[g+1]) without replacement, in random order.

    Args:
        words: One keyed uniform word per row; the rows with the smallest words are taken.
        ptr: int64 [groups + 1], row offsets of the groups.
        counts: int64 [groups], the number of rows to take.

    Returns:
        The rows, group after group.
    """
    sizes = np.diff(ptr)
    owner, _ = numbered(sizes)
    rows = _small(words, owner, sizes, np.minimum(counts, sizes))
    owner = owner[rows]
    bits = np.uint64(64 - len(counts).bit_length())
    keys = (owner.astype(np.uint64) << bits) | (words[rows] >> (np.uint64(64) - bits))
    order = np.argsort(keys, kind="stable")  # merge sort: the groups are contiguous already
    _, rank = numbered(np.bincount(owner, minlength=len(counts)))
    return rows[order[rank < counts[owner]]]


def _small(words: UInt64, owner: Int, sizes: Int, counts: Int) -> Int:
    """Return candidate rows that include the ``counts`` smallest words of each group, to shorten the sort.

    These are the rows below a threshold that usually admits enough of them; for other groups, all rows.
    """
    share = np.minimum((counts + 3 * np.sqrt(counts)) / np.maximum(sizes, 1), 1.0)
    small = words >> np.uint64(32) < (share * 2.0**32).astype(np.uint64)[owner]
    short = np.bincount(owner[small], minlength=len(counts)) < counts
    return np.flatnonzero(small | short[owner])

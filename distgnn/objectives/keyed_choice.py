"""Keyed choice among the rows of every graph at once, with one sort and no loop over graphs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distgnn.graph.batch import GraphBatch
from distgnn.graph.keyed import UInt64, draw, key

Int = npt.NDArray[np.int64]


def graph_keys(graphs: GraphBatch, seed: int, purpose: int, epoch: int) -> UInt64:
    """[G]: a key for each graph, made from its id alone, so that no batch or order of graphs matters."""
    return draw(key(seed, purpose, epoch), graphs.graph_id.numpy().view(np.uint64))


def numbered(counts: Int) -> tuple[Int, Int]:
    """(group of each row, its number within the group), int64 [sum of counts] each, for int64 [groups] counts."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)


def first_of_each(words: UInt64, ptr: Int, counts: Int) -> Int:
    """Rows of the smallest words: of group g (rows ptr[g]:ptr[g+1]) the first ``counts[g]``, group after group.

    words: one keyed uniform word per row, so that what is taken is a uniform draw without replacement, in random order.
    """
    sizes = np.diff(ptr)
    owner, _ = numbered(sizes)
    rows = _small(words, owner, sizes, np.minimum(counts, sizes))
    owner = owner[rows]
    bits = np.uint64(64 - len(counts).bit_length())
    keys = (owner.astype(np.uint64) << bits) | (words[rows] >> (np.uint64(64) - bits))
    order = np.argsort(
        keys, kind="stable"
    )  # a merge sort: groups already lie one after the other, and it makes use of that
    _, rank = numbered(np.bincount(owner, minlength=len(counts)))
    return rows[order[rank < counts[owner]]]


def _small(words: UInt64, owner: Int, sizes: Int, counts: Int) -> Int:
    """Rows among which each group's ``counts`` smallest words are: those below a limit that mostly lets enough through, or all
    of a group's rows where it did not. Sorting is most of the work, and this spares most of it where few rows are taken.
    """
    share = np.minimum((counts + 3 * np.sqrt(counts)) / np.maximum(sizes, 1), 1.0)
    small = words >> np.uint64(32) < (share * 2.0**32).astype(np.uint64)[owner]
    short = np.bincount(owner[small], minlength=len(counts)) < counts
    return np.flatnonzero(small | short[owner])

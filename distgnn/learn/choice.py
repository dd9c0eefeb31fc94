"""Keyed choice among the rows of every graph at once, with one sort and no loop over graphs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distgnn.graph.keyed import UInt64

Int = npt.NDArray[np.int64]


def numbered(counts: Int) -> tuple[Int, Int]:
    """(group of each row, its number within the group), int64 [sum of counts] each, for int64 [groups] counts."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)


def first_of_each(words: UInt64, ptr: Int, counts: Int) -> Int:
    """Rows of the smallest words: of group g (rows ptr[g]:ptr[g+1]) the first ``counts[g]``, group after group.

    words: one keyed uniform word per row, so that what is taken is a uniform draw without replacement, in random order.
    """
    owner, rank = numbered(np.diff(ptr))
    bits = np.uint64(64 - len(counts).bit_length())
    order = np.argsort((owner.astype(np.uint64) << bits) | (words >> (np.uint64(64) - bits)))
    return order[rank < counts[owner]]

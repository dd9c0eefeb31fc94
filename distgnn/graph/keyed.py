"""Randomness as a function: counter-based hashing of integer keys, vectorised, with no generator state.

The mixer is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
Every draw in distgnn is ``draw(key, counter)`` with a key made from (seed, epoch, graph id), so it does not depend on the
worker, shard or order in which graphs are met.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]
_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def mix(values: npt.ArrayLike) -> UInt64:
    """Bijective scramble of 64-bit words, any shape."""
    z = np.array(values, dtype=np.uint64, ndmin=1)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def key(*parts: int) -> int:
    """One 64-bit key from integers such as (seed, epoch, purpose)."""
    state = 0
    for part in parts:
        state = int(mix((state * _GAMMA + (part & _MASK) + _GAMMA) & _MASK)[0])
    return state


def draw(key: int | UInt64, counter: npt.ArrayLike) -> UInt64:
    """Uniform 64-bit words, one per counter; ``key`` is one key or one key per counter."""
    count = np.atleast_1d(np.asarray(counter)).astype(np.uint64)  # scalars would warn of the wanted overflow
    scrambled = np.asarray(key, dtype=np.uint64) + (count + np.uint64(1)) * np.uint64(_GAMMA)
    return mix(scrambled)


def permutation(key: int, size: int) -> npt.NDArray[np.int64]:
    """A keyed permutation of ``range(size)``, int64. No two words are the same, so any sorting gives the same order."""
    return np.argsort(draw(key, np.arange(size, dtype=np.uint64)))


def first_of_permutation(key: int, size: int, count: int) -> npt.NDArray[np.int64]:
    """What the first ``count`` of ``permutation(key, size)`` are, in no order and without sorting; count below size."""
    return np.argpartition(draw(key, np.arange(size, dtype=np.uint64)), count)[:count]


def below(words: UInt64, limits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Map uniform words to ``[0, limit)`` elementwise (multiply-shift on the high 32 bits; limits up to 2**31)."""
    return ((words >> np.uint64(32)) * limits.astype(np.uint64) >> np.uint64(32)).astype(np.int64)


def unit_interval(words: UInt64) -> npt.NDArray[np.float64]:
    """Map uniform words to [0, 1) with 53 random bits."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def distinct(words: UInt64, degree: npt.NDArray[np.int64], take: int) -> npt.NDArray[np.int64]:
    """int64 [M, take]: in row i, ``take`` distinct numbers below degree[i], which must be larger than ``take``.

    Floyd's algorithm ("A sample of brilliance", CACM 1987), all rows at a time; words: one key a row.
    """
    counter = np.arange(take)[:, None]
    tops = degree - take + counter
    chosen = below(draw(words, counter), tops + 1)  # [take, M]: a step is one stretch of memory
    for step in range(1, take):
        np.copyto(chosen[step], tops[step], where=(chosen[:step] == chosen[step]).any(axis=0))
    return chosen.T

"""Counter-based random numbers: pure functions of integer keys, without generator state.

The mixer is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
Every random number in distgnn is ``draw(key, counter)`` with a key derived from (seed, epoch, graph id), so it does not
depend on the worker, the shard or the processing order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]
_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def mix(values: npt.ArrayLike) -> UInt64:
    """Scramble 64-bit words bijectively (any shape; a scalar becomes [1])."""
    z = np.array(values, dtype=np.uint64, ndmin=1)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def key(*parts: int) -> int:
    """Hash integers such as (purpose, seed, epoch) to one 64-bit key; order matters."""
    state = 0
    for part in parts:
        state = int(mix((state * _GAMMA + (part & _MASK) + _GAMMA) & _MASK)[0])
    return state


def draw(key: int | UInt64, counter: npt.ArrayLike) -> UInt64:
    """Return one uniform 64-bit word per counter; ``key`` is one key or one key per counter."""
    # At least one dimension: NumPy warns of the intended overflow for scalars only.
    count = np.atleast_1d(np.asarray(counter)).astype(np.uint64)
    scrambled = np.asarray(key, dtype=np.uint64) + (count + np.uint64(1)) * np.uint64(_GAMMA)
    return mix(scrambled)


def permutation(key: int, size: int) -> npt.NDArray[np.int64]:
    """Return a keyed permutation of ``range(size)``, int64. All words differ, so the result is the same for any sort."""
    return np.argsort(draw(key, np.arange(size, dtype=np.uint64)))


def first_of_permutation(key: int, size: int, count: int) -> npt.NDArray[np.int64]:
    """Return the first ``count`` (< size) elements of ``permutation(key, size)`` unordered, without sorting."""
    return np.argpartition(draw(key, np.arange(size, dtype=np.uint64)), count)[:count]


def below(words: UInt64, limits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Map uniform words to integers in [0, limit) elementwise (multiply-shift on the high 32 bits; limits up to 2**31)."""
    return ((words >> np.uint64(32)) * limits.astype(np.uint64) >> np.uint64(32)).astype(np.int64)


def unit_interval(words: UInt64) -> npt.NDArray[np.float64]:
    """Map uniform words to floats in [0, 1) with 53 random bits."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def distinct(words: UInt64, degree: npt.NDArray[np.int64], take: int) -> npt.NDArray[np.int64]:
    """Sample without replacement in every row at once.

    Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", CACM 1987).

    Args:
        words: uint64 [M], one key per row.
        degree: int64 [M], population size of each row; must be larger than ``take``.
        take: sample size.

    Returns:
        int64 [M, take]; row i holds distinct integers in [0, degree[i]).
    """
    counter = np.arange(take)[:, None]
    tops = degree - take + counter
    chosen = below(draw(words, counter), tops + 1)  # [take, M]: each step reads contiguous memory
    for step in range(1, take):
        np.copyto(chosen[step], tops[step], where=(chosen[:step] == chosen[step]).any(axis=0))
    return chosen.T

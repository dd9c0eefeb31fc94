"""Exact negative sampling without rejection: non-neighbours of nodes and non-edges of graphs."""

from __future__ import annotations

import numpy as np

from distgnn.graph.batch import GraphBatch
from distgnn.graph.keyed import UInt64, below, draw
from distgnn.objectives.keyed_choice import Int, numbered

_SHIFT = 1


class _Gaps:
    """Access by rank to the ids that are not excluded.

    For sorted excluded ids e_0 < e_1 < ... of a group, the r-th allowed id is r + #{i : e_i - i <= r}.
    """

    def __init__(self, group: Int, excluded: Int, groups: int, most: int) -> None:
        """group, excluded: int64 [k], sorted by group and id; ids are in [0, most)."""
        self.count = np.bincount(group, minlength=groups)
        self._start = np.cumsum(self.count) - self.count
        self._stride = most + 1
        rank = np.arange(len(group), dtype=group.dtype) - np.repeat(self._start.astype(group.dtype), self.count)
        self._keys = group * group.dtype.type(self._stride) + (excluded - rank)

    def nth(self, group: Int, r: Int) -> Int:
        """Return int64 [k]: the r-th allowed id of each ``group``; r is less than the number of allowed ids."""
        wanted = (group * self._stride + r).astype(self._keys.dtype)
        return r + np.searchsorted(self._keys, wanted, side="right") - self._start[group]


class Neighbours:
    """Samples non-neighbours of nodes. The node itself and its neighbours are excluded."""

    def __init__(self, graphs: GraphBatch) -> None:
        nodes, sizes = graphs.num_nodes, graphs.node_ptr.diff().numpy()
        self._first = np.repeat(graphs.node_ptr.numpy()[:-1], sizes)
        bits = int(sizes.max(initial=0)).bit_length()
        kind = np.int32 if (nodes + 1) * ((1 << bits) + 1) < 1 << 31 else np.int64  # sorted twice as fast
        (source, target), every = graphs.edges.numpy().astype(kind), np.arange(nodes, dtype=kind)
        start = np.repeat(graphs.node_ptr.numpy()[:-1], graphs.edge_ptr.diff().numpy()).astype(kind)
        left = np.concatenate([source, target, every])
        right = np.concatenate([target - start, source - start, every - self._first.astype(kind)])
        pairs = left << kind(bits) | right  # sorted by node, then by local id
        pairs = np.unique(pairs) if graphs.directed else np.sort(pairs)
        self._gaps = _Gaps(pairs >> kind(bits), pairs & kind((1 << bits) - 1), nodes, 1 << bits)
        self._free = np.repeat(sizes, sizes) - self._gaps.count

    def orient(self, ends: Int, words: UInt64) -> tuple[Int, Int]:
        """Choose (anchor, other end) of each edge by a keyed coin flip; an end without non-neighbours is not the
        anchor.

        If neither end has one, the coin flip decides.
        """
        flip = (words & np.uint64(1)).astype(np.int64)
        step = (ends[1] - ends[0]) * flip  # several times as fast as np.where, whose branches are random
        anchor, other = ends[0] + step, ends[1] - step
        swap = (self._free[anchor] == 0) & (self._free[other] > 0)
        if not swap.any():
            return anchor, other
        return np.where(swap, other, anchor), np.where(swap, anchor, other)

    def draw_absent(self, anchor: Int, words: UInt64) -> Int:
        """Sample a non-neighbour of each anchor uniformly from its graph: batch-absolute ids, -1 if there is none."""
        free = self._free[anchor]
        r = below(words, free)
        return np.where(free > 0, self._first[anchor] + self._gaps.nth(anchor, r), -1)


class NonEdges:
    """Samples pairs of distinct nodes of a graph that no stored edge connects in either direction.

    A pair u < v has the index v (v - 1) / 2 + u among the pairs of its graph.

    Attributes:
        count: int64 [G], number of non-edges of each graph.
    """

    def __init__(self, graphs: GraphBatch) -> None:
        sizes, edges = graphs.node_ptr.diff().numpy(), graphs.edge_ptr.diff().numpy()
        owner, _ = numbered(edges)
        source, target = graphs.edges.numpy() - graphs.node_ptr.numpy()[owner]
        low, high = np.minimum(source, target), np.maximum(source, target)
        every = sizes * (sizes - 1) // 2
        most = int(every.max(initial=0))
        codes = (owner * (most + 1) + high * (high - 1) // 2 + low)[low < high]
        codes = np.unique(codes) if graphs.directed else np.sort(codes)
        group, excluded = np.divmod(codes, most + 1)
        self._gaps = _Gaps(group, excluded, len(sizes), most)
        self.count = every - self._gaps.count

    def draw(self, keys: UInt64, counts: Int) -> tuple[Int, Int, Int]:
        """Sample ``counts[g]`` distinct non-edges of each graph.

        A graph's non-edges are split into ``counts[g]`` equal intervals, one non-edge is sampled from each, and all are
        rotated by one keyed shift. Thus they are distinct, and all non-edges are equally likely.

        Args:
            keys: One key per graph.
            counts: int64 [G], at most :attr:`count`.

        Returns:
            (graph, u, v), graph after graph, in keyed order; u and v are local to the graph.
        """
        owner, rank = numbered(counts)
        free, wanted = self.count[owner], counts[owner]
        low, high = rank * free // wanted, (rank + 1) * free // wanted
        words = draw(keys[owner], rank)
        shift = draw(keys ^ np.uint64(_SHIFT), 0) % np.maximum(self.count, 1).astype(np.uint64)
        place = low + (words % (high - low).astype(np.uint64)).astype(np.int64)
        code = self._gaps.nth(owner, (place + shift.astype(np.int64)[owner]) % free)
        v = (1 + np.sqrt(1 + 8 * code)).astype(np.int64) // 2  # exact: sqrt of an odd square below 2**53 is exact
        u = code - v * (v - 1) // 2
        flip = words >> np.uint64(63) == 1
        return owner, np.where(flip, v, u), np.where(flip, u, v)

"""Hop distances by breadth-first search over all graphs of a batch at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int = npt.NDArray[np.int64]


def hops(edges: Int, roots: Int, nodes: int, radius: int = 0) -> npt.NDArray[np.int32]:
    """Compute hop distances from the nearest root, ignoring edge direction.

    Each round follows only the edges that no earlier round has reached, so each edge is followed once.

    Args:
        edges: int64 [2, E].
        roots: int64 [R]; one per graph for distances within graphs.
        nodes: number of nodes, N.
        radius: largest distance to search (0 = no limit).

    Returns:
        int32 [N]; -1 for nodes that are unreachable or beyond ``radius``.
    """
    distance = np.full(nodes, -1, dtype=np.int32)
    distance[roots] = 0
    reached = distance == 0
    left, right = edges
    step = 0
    while left.size and (not radius or step < radius):
        step += 1
        left_reached, right_reached = reached[left], reached[right]
        frontier = np.concatenate([right[left_reached & ~right_reached], left[right_reached & ~left_reached]])
        if not frontier.size:
            break
        distance[frontier], reached[frontier] = step, True
        unvisited = ~(left_reached | right_reached)
        left, right = left[unvisited], right[unvisited]
    return distance

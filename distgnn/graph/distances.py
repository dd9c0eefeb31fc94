"""Distances from chosen nodes in every graph of a batch at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int = npt.NDArray[np.int64]


def hops(edges: Int, roots: Int, nodes: int, radius: int = 0) -> npt.NDArray[np.int32]:
    """int32 [nodes]: edges on a shortest way from the nearest root, in either direction of an edge; -1 where there is none.

    edges: int64 [2, E]. roots: int64, one per graph for distances within graphs. radius: look no further (0 = everywhere);
    nodes beyond count as unreached. One round per hop over the edges that no round has reached yet, so each edge is
    followed once; rounds end with the largest distance.
    """
    distance = np.full(nodes, -1, dtype=np.int32)
    distance[roots] = 0
    reached = distance == 0
    left, right = edges
    step = 0
    while left.size and (not radius or step < radius):
        step += 1
        near, far = reached[left], reached[right]
        fresh = np.concatenate([right[near & ~far], left[far & ~near]])
        if not fresh.size:
            break
        distance[fresh], reached[fresh] = step, True
        waiting = ~(near | far)
        left, right = left[waiting], right[waiting]
    return distance

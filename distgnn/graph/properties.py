"""Structural properties of every node of a batch, from sparse products over all its graphs at once.

Edges count without direction, repeated ones once and loops not at all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from distgnn.graph.batch import GraphBatch

Floats = npt.NDArray[np.float64]


def neighbours(graphs: GraphBatch) -> csr_array:
    """int64 [N, N]: 1 where two nodes are joined."""
    source, target = graphs.edges.numpy()
    source, target = source[source != target], target[source != target]
    rows, columns = np.concatenate([source, target]), np.concatenate([target, source])
    joined = csr_array((np.ones(len(rows), np.int64), (rows, columns)), shape=(graphs.num_nodes, graphs.num_nodes))
    joined.data[:] = 1  # building it has added repeated edges up
    return joined


def degree(joined: csr_array) -> Floats:
    """[N]: number of neighbours."""
    return np.diff(joined.indptr).astype(np.float64)


def clustering(joined: csr_array) -> Floats:
    """[N]: the local clustering coefficient, the share of pairs of neighbours that are joined themselves; 0 without a pair.

    Watts and Strogatz, "Collective dynamics of 'small-world' networks", Nature 1998.
    """
    count = degree(joined)
    pairs = count * (count - 1)
    closed = csr_array(joined @ joined).multiply(joined).sum(axis=1)
    return np.divide(closed, pairs, out=np.zeros_like(count), where=pairs > 0)

"""Degree and clustering coefficient of every node of a batch, from sparse matrix products.

Edges count as undirected; duplicate edges count once, self-loops not at all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from distgnn.graph.batch import GraphBatch

Floats = npt.NDArray[np.float64]


def neighbours(graphs: GraphBatch) -> csr_array:
    """Return the symmetric 0/1 adjacency matrix of all graphs, int64 [N, N]."""
    source, target = graphs.edges.numpy()
    source, target = source[source != target], target[source != target]
    rows, columns = np.concatenate([source, target]), np.concatenate([target, source])
    adjacency = csr_array((np.ones(len(rows), np.int64), (rows, columns)), shape=(graphs.num_nodes, graphs.num_nodes))
    adjacency.sum_duplicates()  # SciPy 1.13 leaves duplicate edges as they are
    adjacency.data[:] = 1
    return adjacency


def degree(adjacency: csr_array) -> Floats:
    """Return the number of neighbours of each node, float64 [N]."""
    return np.diff(adjacency.indptr).astype(np.float64)


def clustering(adjacency: csr_array) -> Floats:
    """Return the local clustering coefficient of each node, float64 [N]: the fraction of its pairs of neighbours that are joined.

    Nodes with fewer than two neighbours have 0. Watts and Strogatz, "Collective dynamics of 'small-world' networks", Nature 1998.
    """
    count = degree(adjacency)
    pairs = count * (count - 1)
    closed = csr_array(adjacency @ adjacency).multiply(adjacency).sum(axis=1)
    return np.divide(closed, pairs, out=np.zeros_like(count), where=pairs > 0)

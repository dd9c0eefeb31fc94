"""Relations between graphs of one stream, and sums over graphs.

Streams are never split over ranks, so losses that compare graphs of one stream do not depend on the number of ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch, group_sizes


def stream_bounds(batch: GraphBatch) -> Tensor:
    """Return int64 [S + 1]: stream s owns the graphs bounds[s]:bounds[s+1].

    A batch without ``stream_ptr`` is one stream.
    """
    if batch.stream_ptr is None:
        return torch.arange(2, device=batch.node_ptr.device) * batch.num_graphs
    return batch.stream_ptr


def stream_sizes(batch: GraphBatch) -> list[int]:
    """Return the number of graphs of each stream; the host waits for a device only if it does not know them."""
    if batch.stream_ptr is None:
        return [batch.num_graphs]
    known = batch.on_host("stream_ptr")
    return (batch.stream_ptr if known is None else known).diff().tolist()


def next_graph(graphs: Tensor, batch: GraphBatch) -> Tensor:
    """Return the successor of each chosen graph among the chosen graphs of its stream, cyclic.

    The only chosen graph of a stream is its own successor.

    Args:
        graphs: int64 [U], ascending indices in the batch.
        batch: The batch.

    Returns:
        int64 [U], indices into ``graphs``.
    """
    bounds = stream_bounds(batch)
    stream = torch.bucketize(graphs, bounds[1:], right=True)
    sizes = group_sizes(stream, bounds.numel() - 1)
    first = (sizes.cumsum(0) - sizes)[stream]
    return first + (torch.arange(graphs.numel(), device=first.device) - first + 1) % sizes[stream]


def sum_of_means(values: Tensor, ptr: Tensor) -> Tensor:
    """Return the sum over non-empty groups of the mean of values [M]; group g owns ptr[g]:ptr[g+1]."""
    counts = ptr.diff()
    share = torch.repeat_interleave(1 / counts.to(values.dtype), counts, output_size=values.shape[0])
    return (values * share).sum()

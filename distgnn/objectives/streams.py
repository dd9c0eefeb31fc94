"""What relates graphs of one stream to each other, and sums over graphs. Never across streams: ranks hold whole streams."""

from __future__ import annotations

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch


def stream_bounds(batch: GraphBatch) -> Tensor:
    """int64 [S + 1]: graphs of stream s are bounds[s]:bounds[s+1] (one stream where the batch does not say)."""
    if batch.stream_ptr is None:
        return torch.tensor([0, batch.num_graphs], device=batch.node_ptr.device)
    return batch.stream_ptr


def next_graph(graphs: Tensor, batch: GraphBatch) -> Tensor:
    """int64 [U]: for each of the chosen ``graphs`` (ascending places in the batch) the number in 0..U-1 of the next chosen
    one of the same stream, cyclic. The only one of a stream meets itself.
    """
    bounds = stream_bounds(batch)
    stream = torch.bucketize(graphs, bounds[1:], right=True)
    sizes = torch.bincount(stream, minlength=bounds.numel() - 1)
    first = (sizes.cumsum(0) - sizes)[stream]
    return first + (torch.arange(graphs.numel(), device=first.device) - first + 1) % sizes[stream]


def sum_of_means(values: Tensor, ptr: Tensor) -> Tensor:
    """The mean of each group's values, summed over groups that have any; values: [M], group g owns ptr[g]:ptr[g+1]."""
    counts = ptr.diff()
    share = torch.repeat_interleave(1 / counts.to(values.dtype), counts)
    return (values * share).sum()

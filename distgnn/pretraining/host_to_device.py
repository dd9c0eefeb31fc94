"""Asynchronous copies of batches from host to device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch, map_tensors, pin


@dataclass(frozen=True)
class Arriving:
    """A batch whose copy to the device may be in progress.

    Attributes:
        batch: The batch on the device.
        event: Recorded after the copy; None if the copy is complete.
    """

    batch: GraphBatch
    event: torch.Event | None = None

    def arrived(self) -> GraphBatch:
        """The batch, safe to use on the current stream. The stream waits for the copy, the host does not."""
        if self.event is None:
            return self.batch
        stream = torch.cuda.current_stream(self.batch.edges.device)
        stream.wait_event(self.event)

        def used_here(tensor: Tensor) -> Tensor:
            tensor.record_stream(stream)  # or the allocator could reuse its memory for the next copy too early
            return tensor

        return map_tensors(self.batch, used_here)


def send(
    batches: Iterator[tuple[int, GraphBatch | None]], device: torch.device
) -> Iterator[tuple[int, Arriving | None]]:
    """Copy batches to ``device``, in order.

    For a GPU, batches are copied from pinned memory on a separate stream, so copies overlap with computation. Call it in the
    prefetching thread: the length of its queue bounds the number of copies ahead.

    Args:
        batches: Pairs of step and batch; None if this rank has no graphs in a step.
        device: The target device.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    for step, batch in batches:
        yield step, None if batch is None else _sent(batch, device, stream)


def _sent(batch: GraphBatch, device: torch.device, stream: torch.cuda.Stream | None) -> Arriving:
    if stream is None:
        return Arriving(batch.to(device))
    with torch.cuda.stream(stream):
        return Arriving(pin(batch).to(device, non_blocking=True), stream.record_event())

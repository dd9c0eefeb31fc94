"""Batches on their way to the device: copied beside the computation where there is a GPU, handed over at once elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch, map_tensors, pin


@dataclass(frozen=True)
class Arriving:
    """A batch whose copy has been asked for; ``event`` happens when it is complete (None: it is)."""

    batch: GraphBatch
    event: torch.Event | None = None

    def arrived(self) -> GraphBatch:
        """The batch, safe to compute with on the current stream; the host does not wait, the stream does."""
        if self.event is None:
            return self.batch
        stream = torch.cuda.current_stream(self.batch.edges.device)
        stream.wait_event(self.event)

        def used_here(tensor: Tensor) -> Tensor:
            tensor.record_stream(stream)  # or its memory might be given away to the next copy while it is still read
            return tensor

        return map_tensors(self.batch, used_here)


def send(
    batches: Iterator[tuple[int, GraphBatch | None]], device: torch.device
) -> Iterator[tuple[int, Arriving | None]]:
    """The same batches on ``device``, step by step. Meant for the reading thread: how far copies run ahead is its queue's length.

    For a GPU each batch goes through page-locked memory on a stream of its own, so it arrives while an earlier one is computed.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    for step, batch in batches:
        yield step, None if batch is None else _sent(batch, device, stream)


def _sent(batch: GraphBatch, device: torch.device, stream: torch.cuda.Stream | None) -> Arriving:
    if stream is None:
        return Arriving(batch.to(device))
    with torch.cuda.stream(stream):
        return Arriving(pin(batch).to(device, non_blocking=True), stream.record_event())

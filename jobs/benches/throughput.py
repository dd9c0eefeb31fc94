"""Utilization of a device by a second-order step: graphs per second by batch size, and shares of measured ceilings.

The ceilings are the rates of a large matrix product and a large copy on the same device. Arithmetic counts 2 m n k for every dense
product and 2 d per entry of every sparse product. Traffic counts the inputs and outputs of every operator once, without caches or
fusion, so the share of bandwidth is an upper bound.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from distgnn.config import EncoderConfig
from distgnn.corpus.manifest import read_manifest
from distgnn.graph.batch import GraphBatch
from distgnn.models.encoder import build_encoder
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from distgnn.storage.folder import open_folder

from .data import step_batches
from .measure import Side, finish, line, measure


class Counter(TorchDispatchMode):
    """Counts flops and bytes of the operators that run inside it; see the module docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator and count it."""
        out = func(*args, **(kwargs or {}))
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        sparse = [tensor for tensor in inputs if tensor.layout == torch.sparse_csr]
        if sparse and outputs[0].layout == torch.strided and outputs[0].dim() == 2:
            self.flops += 2 * sparse[0].values().numel() * outputs[0].shape[1]
        elif not sparse and func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        if not func.is_view:
            self.bytes += sum(map(_size, {id(tensor): tensor for tensor in inputs + outputs}.values()))
        return out


def _size(tensor: Tensor) -> int:
    if tensor.layout == torch.sparse_csr:
        return sum(map(_size, (tensor.values(), tensor.col_indices(), tensor.crow_indices())))
    return (
        math.prod(n for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride) * tensor.element_size()
    )


def count_work(work: Callable[[], object]) -> tuple[int, int]:
    """Return (flops, bytes) of ``work()``."""
    with Counter() as counter:
        work()
    return counter.flops, counter.bytes


def seconds_of(work: Callable[[], object], device: str, runs: int = 5) -> float:
    """Return the seconds of the fastest of several runs, after a warm-up."""
    best = math.inf
    for _ in range(runs + 1):
        finish(device)
        start = time.perf_counter()
        work()
        finish(device)
        best = min(best, time.perf_counter() - start)
    return best


def ceilings(device: str) -> tuple[float, float]:
    """Return (flops per second of a float32 product, bytes per second read and written by a copy)."""
    size, count = (8192, 1 << 28) if torch.device(device).type == "cuda" else (1024, 1 << 24)
    a, source = torch.randn(size, size, device=device), torch.randn(count, device=device)
    target = torch.empty_like(source)
    product, copy = seconds_of(lambda: a @ a, device), seconds_of(lambda: target.copy_(source), device)
    return 2 * size**3 / product, 2 * source.nbytes / copy


def throughput_lines(
    uri: str, name: str, encoder_config: EncoderConfig, device: str, sizes: tuple[int, ...]
) -> Iterator[dict[str, Any]]:
    """Measure second-order steps by batch size.

    Args:
        uri: The corpus.
        name: Its name in the results.
        encoder_config: The encoder.
        device: Device of the computation.
        sizes: Numbers of graphs of a step, in 4 streams.
    """
    config = L2PConfig()
    objective = L2P(config)
    encoder = build_encoder(read_manifest(open_folder(uri)).schema, encoder_config, 0).to(device)
    matrix, bandwidth = ceilings(device)
    label = f"{name}, {encoder_config.kind} {encoder_config.layers}x{encoder_config.width}"
    yield line("l2p_step", label, "ceiling: float32 matrix product", "TFLOP/s", [matrix / 1e12])
    yield line("l2p_step", label, "ceiling: copy", "GB/s", [bandwidth / 1e9])
    for size in sizes:
        batch = step_batches(uri, objective.prepare, 1, per_stream=size // 4)[0].to(device)

        def step(batch: GraphBatch = batch) -> float:
            encoder.zero_grad()
            objective.losses(encoder, batch, 0, 0).total.backward()
            finish(device)
            return 1.0

        flops, moved = count_work(step)
        seconds = measure([Side("step", step)], 5)["step"]
        case = f"{label}, batch {size}"
        yield line("l2p_step", case, "second-order per-graph L2P", "graphs/s", [size / s for s in seconds])
        yield line("l2p_step", case, "share of the matrix ceiling", "%", [100 * flops / s / matrix for s in seconds])
        traffic = [100 * moved / s / bandwidth for s in seconds]
        yield line("l2p_step", case, "share of the copy ceiling (traffic counted without caches)", "%", traffic)

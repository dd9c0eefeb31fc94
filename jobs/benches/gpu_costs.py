"""GPU checks of costs: copies, synchronisations of the host, memory and speed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from distgnn.config import EncoderConfig
from distgnn.distributed import ProcessGroup
from distgnn.graph.batch import GraphBatch, map_tensors
from distgnn.pretraining.host_to_device import send
from distgnn.pretraining.memory import peak_memory_mb
from distgnn.pretraining.step import objective_of, outer_step

from .data import molecules, step_batches
from .gpu_values import KINDS, SMALL, Case, Finding
from .memory import peak_mb
from .throughput import seconds_of, throughput_lines


def check_copies(device: str) -> Finding:
    """Page-locked copies on a side stream: contents arrive unchanged; time compared with pageable copies."""
    finding = Finding()
    with molecules(4096) as (_, uri):
        case = Case(uri)
        batches = step_batches(uri, objective_of(case.state("cpu")).prepare, 8, per_stream=64)
    arrived = [sent.arrived() for _, sent in send(iter(enumerate(batches)), torch.device(device)) if sent is not None]
    equal = all(
        torch.equal(a.cpu(), b)
        for x, y in zip(arrived, batches, strict=True)
        for a, b in zip(_tensors(x), _tensors(y), strict=True)
    )
    finding.expect(equal, "a batch changed in the copy to the device")
    size = sum(tensor.nbytes for tensor in _tensors(batches[0]))
    for name, copy in _copies(batches, torch.device(device)).items():
        seconds = seconds_of(copy, device)
        gbps = len(batches) * size / seconds / 1e9
        finding.rows.append(
            {"copy": name, "batch MB": size / 1e6, "ms a batch": 1e3 * seconds / len(batches), "GB/s": gbps}
        )
    return finding


def _tensors(batch: GraphBatch) -> list[Tensor]:
    """Return all tensors of a batch."""
    found: list[Tensor] = []
    map_tensors(batch, lambda tensor: (found.append(tensor), tensor)[1])
    return found


def _copies(batches: list[GraphBatch], device: torch.device) -> dict[str, Callable[[], object]]:
    return {
        "pageable": lambda: [batch.to(device) for batch in batches],
        "page-locked, side stream": lambda: [
            sent.arrived() for _, sent in send(iter(enumerate(batches)), device) if sent is not None
        ],
    }


def check_synchronisation(device: str) -> Finding:
    """Number and places of host synchronisations in one training step (torch.cuda.set_sync_debug_mode)."""
    finding = Finding(notes=["A step needs one: the read of its losses."])
    with molecules(2048) as (_, uri):
        for objective, kind in [*(("l2p", kind) for kind in KINDS), ("edgepred", "gin"), ("graphcl", "gin")]:
            case = Case(uri, objective, replace(SMALL, kind=kind))
            state, batch = case.state(device), case.batch().to(device)
            group = ProcessGroup.single_process(torch.device(device))
            for _ in range(2):
                outer_step(state, batch, case.train, group, epoch=0, lr=1e-3)
            places = _waits(lambda: outer_step(state, batch, case.train, group, epoch=0, lr=1e-3))  # noqa: B023
            row = {"objective": objective, "encoder": kind, "waits": len(places)}
            finding.rows.append({**row, "where": ", ".join(f"{p} x{places.count(p)}" for p in dict.fromkeys(places))})
    return finding


def _waits(work: Callable[[], object]) -> list[str]:
    """Return file:line of each synchronisation in ``work()``."""
    if not torch.cuda.is_available():
        return []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [f"{os.path.basename(w.filename)}:{w.lineno}" for w in caught if "called a synchronizing" in str(w.message)]


def check_memory(device: str) -> Finding:
    """Peak memory of a second-order step of the default encoder by batch size."""
    finding = Finding()
    with molecules(4096) as (_, uri):
        case = Case(uri, encoder=EncoderConfig())
        state = case.state(device)
        for size in (16, 64, 256) if device == "cuda" else (16,):
            batch = case.batch(size).to(device)

            def step(batch: GraphBatch = batch) -> None:
                objective_of(state).losses(state.encoder, batch, 0, 0).total.backward()

            step()
            finding.rows.append(
                {"graphs": batch.num_graphs, "nodes": batch.num_nodes, "peak MB": peak_mb(step, device)}
            )
        finding.expect(peak_memory_mb(torch.device(device)) > 0, "no peak memory is reported")
    return finding


def check_speed(device: str) -> Finding:
    """Second-order steps of the default encoder: graphs/s, and shares of the matrix and copy ceilings, by batch size."""
    sizes = (64, 256, 1024, 4096) if device == "cuda" else (64,)
    finding = Finding()
    with molecules(8192) as (name, uri):
        for config in (EncoderConfig(), *([SMALL] if device == "cuda" else [])):
            for item in throughput_lines(uri, name, config, device, sizes):
                finding.rows.append({key: item[key] for key in ("case", "metric", "value", "unit")})
    return finding

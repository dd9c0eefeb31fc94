"""Benchmark simulate: efficiency of 8 to 1024 ranks from measured sizes of graphs, measured step times, and given bandwidths.

A rank has one stream. Its step takes a fixed time and a time for each node and edge, fitted to measured steps of second-order
L2P. A step of all ranks ends when the slowest has finished and the gradients have gone around a ring. Efficiency is the mean
time of a rank over the time of the step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distgnn.config import EncoderConfig
from distgnn.corpus.manifest import read_manifest
from distgnn.corpus.plan import Plan, UnitRef
from distgnn.corpus.reader import CorpusReader
from distgnn.models.encoder import build_encoder
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from distgnn.storage.folder import open_folder

from .data import molecules, step_batches
from .measure import Options, line

_RANKS, _PER_STREAM, _STEPS = (8, 64, 256, 1024), (16, 64), 300
_GIGABITS, _HOP_SECONDS = (10, 100), 20e-6
Float = npt.NDArray[np.float64]


def bench_simulate(options: Options) -> Iterator[dict[str, Any]]:
    """Efficiency by number of ranks, with balanced steps against shuffled ones."""
    encoder = EncoderConfig(layers=2, width=32) if options.quick else EncoderConfig()
    with molecules(20_000 if options.quick else 80_000) as (case, uri):
        fixed, slope, parameters = fitted(uri, encoder, 12 if options.quick else 40)
        for each in _PER_STREAM:
            sizes = {order: unit_steps(uri, each, balanced=order == "balanced") for order in ("balanced", "shuffled")}
            for ranks in _RANKS[:2] if options.quick else _RANKS:
                for gigabits in _GIGABITS:
                    found = {
                        order: 100 * efficiency(fixed + slope * steps, ranks, 4 * parameters, gigabits * 1e9 / 8)
                        for order, steps in sizes.items()
                    }
                    name = (
                        f"{case}, gin {encoder.layers}x{encoder.width}, {ranks} ranks x {each} graphs, {gigabits} Gb/s"
                    )
                    yield line(
                        "simulate", name, "efficiency", "%", [found["balanced"]], ("shuffled", [found["shuffled"]])
                    )


def fitted(uri: str, config: EncoderConfig, count: int) -> tuple[float, float, int]:
    """Fit (seconds of a step, seconds for each node and edge) to measured steps on one thread; also count the parameters."""
    torch.set_num_threads(1)
    objective = L2P(L2PConfig())
    encoder = build_encoder(read_manifest(open_folder(uri)).schema, config, 0)
    found = []
    for number, batch in enumerate(step_batches(uri, objective.prepare, count, streams=1)):
        start = time.process_time()
        objective.losses(encoder, batch, 0, 0).total.backward()
        if number:  # the first one warms up
            found.append((batch.num_nodes + batch.num_edges, time.process_time() - start))
    size, seconds = np.array(found).T
    slope, fixed = np.polyfit(size, seconds, 1)
    return max(float(fixed), 0.0), max(float(slope), 1e-9), sum(p.numel() for p in encoder.parameters())


def unit_steps(uri: str, each: int, *, balanced: bool) -> Float:
    """Nodes and edges of each step of each whole unit, [units, steps]."""
    reader = CorpusReader(uri)
    plan = Plan(reader.manifest.graphs, reader.manifest.unit_rows, 1, each, balanced=balanced)
    steps = []
    for number in range(reader.manifest.graphs // reader.manifest.unit_rows):
        unit, read = reader.unit(number), UnitRef(0, 0, number)
        sizes = (unit.node_ptr.diff() + unit.edge_ptr.diff()).numpy()
        order = plan.balanced_order(read, sizes) if balanced else plan.row_order(read)
        steps.append(sizes[order].reshape(-1, each).sum(1))
    return np.array(steps, np.float64)


def efficiency(seconds: Float, ranks: int, gradient_bytes: int, bandwidth: float) -> float:
    """Mean time of a rank over the time of a step, for steps of random units.

    Args:
        seconds: seconds of each step of each unit, [units, steps].
        ranks: number of ranks.
        gradient_bytes: bytes that every rank sends and receives twice, less its own share.
        bandwidth: bytes per second of a rank's network.
    """
    rng = np.random.default_rng(0)
    units, steps = (rng.integers(0, size, (_STEPS, ranks)) for size in seconds.shape)
    own = seconds[units, steps]
    ring = 2 * (ranks - 1) / ranks * gradient_bytes / bandwidth + 2 * (ranks - 1) * _HOP_SECONDS
    return float(own.mean() / (own.max(axis=1).mean() + ring))

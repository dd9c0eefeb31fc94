"""Benchmark simulate: efficiency of 8 to 1024 ranks from measured sizes of graphs, measured step times, and given bandwidths.

A rank has one stream. Its step takes a fixed time and a time for each node and edge, fitted to measured steps of second-order
L2P of that many graphs, and a residual of that fit, drawn again for each rank and step. A step of all ranks ends when the slowest
has finished and the gradients have gone around a ring. Efficiency is the mean time of a rank over the time of the step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distgnn.config import EncoderConfig
from distgnn.corpus.manifest import read_manifest
from distgnn.corpus.plan import Plan, UnitRef
from distgnn.corpus.reader import CorpusReader
from distgnn.graph.keyed import below, draw, key
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
        for each in _PER_STREAM:
            fit = fitted(uri, encoder, 12 if options.quick else 40, each)
            spread = 100 * fit.residuals.std() / fit.mean
            name = f"{case}, gin {encoder.layers}x{encoder.width}, {each} graphs"
            yield line("simulate", name, "spread of step times beside that of sizes", "%", [spread])
            sizes = {order: unit_steps(uri, each, balanced=order == "balanced") for order in ("balanced", "shuffled")}
            for ranks in _RANKS[:2] if options.quick else _RANKS:
                for gigabits in _GIGABITS:
                    found = {
                        order: 100
                        * efficiency(fit.seconds(steps), fit.residuals, ranks, 4 * fit.parameters, gigabits * 1e9 / 8)
                        for order, steps in sizes.items()
                    }
                    name = (
                        f"{case}, gin {encoder.layers}x{encoder.width}, {ranks} ranks x {each} graphs, {gigabits} Gb/s"
                    )
                    yield line(
                        "simulate", name, "efficiency", "%", [found["balanced"]], ("shuffled", [found["shuffled"]])
                    )


@dataclass(frozen=True)
class Fit:
    """Seconds of a step by its nodes and edges.

    Attributes:
        fixed: Seconds of a step without any.
        slope: Seconds for each.
        residuals: Measured less fitted seconds, [steps].
        mean: Mean of the measured seconds.
        parameters: Number of parameters of the encoder.
    """

    fixed: float
    slope: float
    residuals: Float
    mean: float
    parameters: int

    def seconds(self, sizes: Float) -> Float:
        """Fitted seconds of steps of ``sizes`` nodes and edges."""
        return self.fixed + self.slope * sizes


def fitted(uri: str, config: EncoderConfig, count: int, each: int) -> Fit:
    """Measure ``count`` steps of ``each`` graphs on one thread, in CPU seconds, and fit them."""
    torch.set_num_threads(1)
    objective = L2P(L2PConfig())
    encoder = build_encoder(read_manifest(open_folder(uri)).schema, config, 0)
    found = []
    for number, batch in enumerate(step_batches(uri, objective.prepare, count, 1, each)):
        start = time.process_time()
        objective.losses(encoder, batch, 0, 0).total.backward()
        if number:  # the first one warms up
            found.append((batch.num_nodes + batch.num_edges, time.process_time() - start))
    size, seconds = np.array(found).T
    slope, fixed = np.polyfit(size, seconds, 1)
    residuals = seconds - fixed - slope * size
    return Fit(fixed, slope, residuals, seconds.mean(), sum(p.numel() for p in encoder.parameters()))


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


def efficiency(seconds: Float, residuals: Float, ranks: int, gradient_bytes: int, bandwidth: float) -> float:
    """Mean time of a rank over the time of a step, for steps of random units.

    Args:
        seconds: seconds of each step of each unit, [units, steps].
        residuals: measured deviations from them, of which each step of a rank gets one.
        ranks: number of ranks.
        gradient_bytes: bytes that every rank sends and receives twice, less its own share.
        bandwidth: bytes per second of a rank's network.
    """
    units, steps, noise = (_draws(n, size, ranks) for n, size in enumerate((*seconds.shape, len(residuals))))
    own = np.maximum(seconds[units, steps] + residuals[noise], 0.0)
    ring = 2 * (ranks - 1) / ranks * gradient_bytes / bandwidth + 2 * (ranks - 1) * _HOP_SECONDS
    return float(own.mean() / (own.max(axis=1).mean() + ring))


def _draws(purpose: int, size: int, ranks: int) -> npt.NDArray[np.int64]:
    """Integers below ``size``, [steps, ranks]."""
    words = draw(key(purpose, ranks), np.arange(_STEPS * ranks))
    return below(words, np.array(size)).reshape(_STEPS, ranks)

"""Common parts of the benchmarks: options, interleaved timing and the format of result lines."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import tyro


@dataclass(frozen=True)
class Options:
    """Options of jobs/bench.py."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Benchmarks to run; none = all."""
    json: bool = False
    """Print one JSON object per line instead of a table."""
    quick: bool = False
    """Use small sizes, for results within 45 seconds."""
    device: str = "cpu"
    """Device of the model benchmarks."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: Its name.
        work: The function to time; returns the number of units (graphs, steps) it has processed.
    """

    name: str
    work: Callable[[], float]


def measure(sides: list[Side], runs: int) -> dict[str, list[float]]:
    """Time all sides, interleaved, so that changes of the machine's speed affect all of them, after one warm-up each.

    Args:
        sides: The sides.
        runs: Number of runs of each side.

    Returns:
        Seconds per unit of each run, by side.
    """
    for side in sides:
        side.work()
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(runs):
        for side in sides:
            start = time.perf_counter()
            units = side.work()
            seconds[side.name].append((time.perf_counter() - start) / units)
    return seconds


def line(
    bench: str, case: str, metric: str, unit: str, samples: list[float], against: tuple[str, list[float]] | None = None
) -> dict[str, Any]:
    """Return a result line.

    Args:
        bench: Name of the benchmark.
        case: What was measured on.
        metric: What was measured.
        unit: Unit of the samples.
        samples: The measured values.
        against: Name and values of the baseline, if there is one.
    """
    value = statistics.median(samples)
    base = statistics.median(against[1]) if against else None
    values = (bench, case, metric, value, unit, against and against[0], base, base and value / base, len(samples))
    keys = "bench", "case", "metric", "value", "unit", "baseline", "baseline_value", "ratio", "runs"
    return dict(zip(keys, values, strict=True))


def finish(device: torch.device | str) -> None:
    """Wait until the device has finished its work, so that the time can be measured."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()

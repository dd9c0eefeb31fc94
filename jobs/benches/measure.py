"""What every bench shares: its options, timing both sides of a comparison interleaved, and the form of a result line."""

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
    """Which benches to run and how."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Benches; none = all."""
    json: bool = False
    """One JSON object a line on stdout instead of a table."""
    quick: bool = False
    """Small sizes: an answer within 45 seconds."""
    device: str = "cpu"
    """Where the model benches compute."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a name and a piece of work that returns how many units it did (graphs, steps)."""

    name: str
    work: Callable[[], float]


def measure(sides: list[Side], runs: int) -> dict[str, list[float]]:
    """Seconds per unit of each side, interleaved so that drift of the machine meets all alike; one warm-up each."""
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
    bench: str, case: str, metric: str, unit: str, ours: list[float], against: tuple[str, list[float]] | None = None
) -> dict[str, Any]:
    """One result line from samples of our side and, where there is one, of the baseline's (name, samples)."""
    value = statistics.median(ours)
    base = statistics.median(against[1]) if against else None
    values = (bench, case, metric, value, unit, against and against[0], base, base and value / base, len(ours))
    keys = "bench", "case", "metric", "value", "unit", "baseline", "baseline_value", "ratio", "runs"
    return dict(zip(keys, values, strict=True))


def finish(device: torch.device | str) -> None:
    """Wait until the device has done what was asked of it, so that a clock can be read."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()

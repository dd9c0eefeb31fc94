"""Benchmark plan: time and memory in which a rank computes its share of a step, for a corpus of 10^9 graphs."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

from distgnn.corpus.plan import Plan

from .measure import Options, line

_GRAPHS, _UNIT_ROWS, _PER_STREAM, _HELD_OUT = 10**9, 1000, 16, 0.001
_WORLDS = (1, 64, 4096)
_AT = 2.7
"""Epoch at which the rank starts, within the third."""


def bench_plan(options: Options) -> Iterator[dict[str, Any]]:
    """Measure for several numbers of ranks, without cached state."""
    for world in _WORLDS:
        yield from world_lines(world, 3 if options.quick else 7)


def world_lines(world: int, runs: int) -> Iterator[dict[str, Any]]:
    """Measure the last of ``world`` ranks."""
    case = f"{_GRAPHS:,} graphs, {_GRAPHS // _UNIT_ROWS:,} units, {world} ranks"
    seeds = count()  # a plan caches values of its seed
    yield line("plan", case, "start of a rank", "s", [_seconds(lambda: start(world, next(seeds))) for _ in range(runs)])
    tracemalloc.start()
    plan, step = start(world, next(seeds))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    yield line("plan", case, "peak memory", "MB", [peak / 1e6])
    yield line("plan", case, "a rank's part of a step", "us", [_seconds(lambda: _steps(plan, step, world)) * 1e3])


def start(world: int, seed: int) -> tuple[Plan, int]:
    """Return the plan and the step at which the last rank starts, after computing its first read."""
    plan = Plan(_GRAPHS, _UNIT_ROWS, max(world, 4), _PER_STREAM, seed, _HELD_OUT)
    step = int(_AT * plan.steps_per_epoch)
    next(islice(plan.reads(step, step + 1, world - 1, world), 1))
    return plan, step


def _steps(plan: Plan, step: int, world: int) -> None:
    for later in range(step, step + 1000):
        for stream in range(world - 1, plan.streams, world):
            plan.takes(later, stream)


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin

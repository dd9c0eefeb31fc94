"""Peak memory of a function, in MB (10^6 bytes) above the memory in use before it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")
_PRELOAD = ["distgnn.objectives.build", "distgnn.corpus.reader", "distgnn.corpus.sources", "tyro"]
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_mb(work: Callable[[], object], device: str) -> float:
    """Return the peak memory of ``work()``: memory allocated by torch on CUDA, resident memory of the process on the CPU (Linux).

    Resident pages of earlier work are released late, so on the CPU it should be called in a new process (:func:`apart`).
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    before = _resident("VmRSS")
    _RESET.write_text("5")  # proc(5): resets the peak to the current resident memory
    work()
    return (_resident("VmHWM") - before) / 1e6


def _resident(field: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return next(1024 * int(row.split()[1]) for row in lines if row.startswith(f"{field}:"))


def apart(function: Callable[..., T], *arguments: object) -> T:
    """Call ``function(*arguments)`` in a new process; function and arguments must be picklable."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()

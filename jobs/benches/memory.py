"""Peak memory of a piece of work, in MB (10^6 bytes) beyond what was there before it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")
_HEAVY = ["distgnn.objectives.build", "distgnn.corpus.reader", "distgnn.corpus.sources", "tyro"]
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_mb(work: Callable[[], object], device: str) -> float:
    """Peak of ``work()``: on CUDA what torch allocated, on the CPU the process's resident pages (Linux).

    Resident pages of earlier work are handed back late, so on the CPU ask in a process that did nothing else (:func:`apart`).
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    before = _resident("VmRSS")
    _RESET.write_text("5")  # proc(5): sets the peak back to what is resident now
    work()
    return (_resident("VmHWM") - before) / 1e6


def _resident(field: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return next(1024 * int(row.split()[1]) for row in lines if row.startswith(f"{field}:"))


def apart(function: Callable[..., T], *arguments: object) -> T:
    """``function(*arguments)`` in a process of its own (both picklable)."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_HEAVY)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()

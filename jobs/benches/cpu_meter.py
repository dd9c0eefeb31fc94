"""CPU seconds of the processes of a benchmark by what they do, and of the rest of the machine."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from contextlib import suppress
from types import TracebackType

import numpy as np
import psutil

RAY = ("raylet", "GCS", "controller of Ray Train", "other processes of Ray")
"""Groups of Ray's own processes."""
_SECONDS = 1.0
_REST, _RANKS, _BENCHMARK = "rest of the machine", "ranks", "benchmark"


class CpuMeter:
    """Context manager that samples the CPU seconds of this process and those below it, once a second."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._seen: dict[tuple[int, float], tuple[str, float]] = {}
        self._samples: list[tuple[float, dict[str, float]]] = []
        self._thread = threading.Thread(target=self._run, name="cpu-meter", daemon=True)

    def __enter__(self) -> CpuMeter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def spent(self, begin: float, end: float) -> dict[str, float]:
        """Return the CPU seconds of each group between two times (time.time())."""
        times = [moment for moment, _ in self._samples]
        names = dict.fromkeys(name for _, sample in self._samples for name in sample)
        values = {name: [sample.get(name, 0.0) for _, sample in self._samples] for name in names}
        return {name: float(np.diff(np.interp([begin, end], times, found))[0]) for name, found in values.items()}

    def _run(self) -> None:
        while not self._ended.is_set():
            self._sample()
            self._ended.wait(_SECONDS)
        self._sample()

    def _sample(self) -> None:
        own = psutil.Process()
        for process in (own, *own.children(recursive=True)):
            with suppress(psutil.Error):  # it may have ended
                used = process.cpu_times()
                self._seen[process.pid, process.create_time()] = _group(process), used.user + used.system
        sums = defaultdict[str, float](float)
        for group, seconds in self._seen.values():
            sums[group] += seconds
        machine = psutil.cpu_times()
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        sums[_REST] = sum(machine) - idle - sum(sums.values())
        self._samples.append((time.time(), dict(sums)))


def _group(process: psutil.Process) -> str:
    title = " ".join(process.cmdline())
    if process.pid == os.getpid():
        return _BENCHMARK
    if "TrainWorker" in title or "multiprocessing" in title:
        return _RANKS
    parts = {"raylet/raylet": RAY[0], "gcs_server": RAY[1], "TrainController": RAY[2], "ray": RAY[3]}
    return next((group for part, group in parts.items() if part in title), _BENCHMARK)

"""Several pre-training runs in parallel processes; stopped runs are resumed, finished runs are skipped."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import IO

from distgnn.config import PretrainConfig
from distgnn.errors import INTERRUPTED, RequestError, WorkError
from distgnn.pretraining.history import NAME, read_progress
from distgnn.pretraining.run import CONFIG, new_run, resumed_run
from distgnn.storage.folder import Folder, open_folder
from distgnn.terminal import stderr_console

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class _Child:
    """Process of ``distgnn pretrain`` for one run.

    Args:
        cell: Config of the run.
        process: The process.
        errors: File with its stderr.
        started: Monotonic time of its start.
    """

    cell: PretrainConfig
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    started: float

    @classmethod
    def start(cls, cell: PretrainConfig, alone: bool) -> _Child:
        """Start or resume the run of ``cell``, with all threads if it runs ``alone``."""
        words = [sys.executable, "-m", "distgnn.cli", "pretrain", "--resume", run_folder(cell).uri]
        words += ["--imports", *cell.imports]
        errors = tempfile.TemporaryFile()  # noqa: SIM115
        environment = os.environ | ({} if alone else {"OMP_NUM_THREADS": "1"})
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
        return cls(cell, process, errors, time.monotonic())

    def outcome(self) -> str:
        """Wait for the process.

        Returns:
            Why the run was rejected; empty if it finished.

        Raises:
            KeyboardInterrupt: If it was interrupted.
            WorkError: If it crashed.
        """
        code = self.process.wait()
        with self.errors:
            self.errors.seek(0)
            last = self.errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code not in (0, 1, 2):
            raise WorkError(f"pre-training {self.cell.name} died with code {code} ({last[:200]}); start the grid again")
        return "" if code == 0 else last.removeprefix("distgnn: error: ")


def run_folder(cell: PretrainConfig) -> Folder:
    """Return the folder of the run of a config."""
    return open_folder(cell.out).sub(cell.name)


def _prepared(cell: PretrainConfig) -> bool:
    """Create the run's folder if it is missing and return whether the run is unfinished; RequestError if the configs differ."""
    folder = run_folder(cell)
    if folder.size(CONFIG) is None:
        new_run(cell)
        return True
    try:
        resumed_run(folder.uri, cell)
    except RequestError as error:
        raise RequestError(f"{folder.uri}: a run with other options exists ({error}); choose another out") from error
    return folder.size(NAME) is None or read_progress(folder)["status"] != "finished"


def pretrain_cells(cells: list[PretrainConfig], workers: int) -> dict[str, str]:
    """Pre-train the unfinished runs, ``workers`` at a time. On an interrupt, the running ones write a checkpoint first.

    Args:
        cells: Configs of the runs.
        workers: Number of parallel processes.

    Returns:
        The reasons of rejected runs, by name.
    """
    waiting = deque(cell for cell in cells if _prepared(cell))
    refused: dict[str, str] = {}
    running: list[_Child] = []
    console = stderr_console()
    jobs, start = len(waiting), time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_Child.start(waiting.popleft(), workers == 1))
            time.sleep(_POLL_SECONDS)
            for child in [child for child in running if child.process.poll() is not None]:
                running.remove(child)
                if reason := child.outcome():
                    refused[child.cell.name] = reason
                done = jobs - len(waiting) - len(running)
                left = (time.monotonic() - start) / done * (jobs - done)
                duration = f"{time.monotonic() - child.started:.1f} s"
                line = f"pre-trained {done}/{jobs} {child.cell.name}: {reason or duration}"
                console.print(f"{line} | {timedelta(seconds=round(left))} left", soft_wrap=True, markup=False)
    finally:
        for child in running:
            child.process.terminate()
        for child in running:
            child.process.wait()
            child.errors.close()
    return refused

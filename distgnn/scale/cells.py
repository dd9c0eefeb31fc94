"""Several pre-trainings side by side, each in a process of its own; what was stopped goes on, what is finished stays."""

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

from rich.console import Console

from distgnn.config import PretrainConfig
from distgnn.errors import INTERRUPTED, RequestError, WorkError
from distgnn.pretraining.history import NAME, read_progress
from distgnn.pretraining.run import CONFIG, new_run, resumed_run
from distgnn.storage.folder import Folder, open_folder

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class _Child:
    """A cell's `distgnn pretrain`, running in a process of its own. errors: what it says on stderr. started: monotonic."""

    cell: PretrainConfig
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    started: float

    @classmethod
    def start(cls, cell: PretrainConfig, alone: bool) -> _Child:
        """Go on with the run of ``cell``, with all threads where it runs ``alone``."""
        words = [sys.executable, "-m", "distgnn.cli", "pretrain", "--resume", run_folder(cell).uri]
        words += ["--imports", *cell.imports]
        errors = tempfile.TemporaryFile()  # noqa: SIM115
        environment = os.environ | ({} if alone else {"OMP_NUM_THREADS": "1"})
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
        return cls(cell, process, errors, time.monotonic())

    def outcome(self) -> str:
        """Why the finished process could not train its cell; empty where it could. Raises where the whole grid must stop."""
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
    """Where the run of a cell lies."""
    return open_folder(cell.out).sub(cell.name)


def _prepared(cell: PretrainConfig) -> bool:
    """Make the run's folder where there is none; whether there is something left to train. RequestError for another's run."""
    folder = run_folder(cell)
    if folder.size(CONFIG) is None:
        new_run(cell)
        return True
    try:
        resumed_run(folder.uri, cell)
    except RequestError as error:
        raise RequestError(f"{folder.uri}: a run with other options lies here ({error}); choose another out") from error
    return folder.size(NAME) is None or read_progress(folder)["status"] != "finished"


def pretrain_cells(cells: list[PretrainConfig], workers: int) -> dict[str, str]:
    """Pre-train what is not finished, ``workers`` cells at a time: the reasons of those that cannot be trained, by name.

    An interrupt lets the cells that are training write a checkpoint first.
    """
    waiting = deque(cell for cell in cells if _prepared(cell))
    refused: dict[str, str] = {}
    running: list[_Child] = []
    console = Console(stderr=True, highlight=False)
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
                took = f"{time.monotonic() - child.started:.1f} s"
                line = f"pre-trained {done}/{jobs} {child.cell.name}: {reason or took}"
                console.print(f"{line} | {timedelta(seconds=round(left))} left", soft_wrap=True, markup=False)
    finally:
        for child in running:
            child.process.terminate()
        for child in running:
            child.process.wait()
            child.errors.close()
    return refused

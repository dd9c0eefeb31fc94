"""Metrics for TensorBoard."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from distgnn import register
from distgnn.config.fields import runtime
from distgnn.monitor.loggers.base import LibraryLogger, LoggedRun

FOLDER = "tensorboard"


@dataclass(frozen=True)
class TensorboardConfig:
    """Options of the tensorboard logger."""

    flush_secs: int = runtime(30)
    """Seconds between writes to the event file."""


@register.logger("tensorboard", TensorboardConfig)
class TensorboardLogger(LibraryLogger):
    """Write event files to the folder ``tensorboard`` of the run; the config is the text "config".

    A resumed run adds a file to the folder that purges the steps it repeats.
    """

    library, local_only = "tensorboard", True

    def __init__(self, config: TensorboardConfig, run: LoggedRun) -> None:
        path = Path(run.folder.uri.removeprefix("file://")) / FOLDER
        purge = None if run.resumed_at is None else run.resumed_at + 1
        library = importlib.import_module("torch.utils.tensorboard")
        self._writer = library.SummaryWriter(str(path), purge_step=purge, flush_secs=config.flush_secs)
        self._last = 0
        if run.resumed_at is None:
            rows = "\n".join(f"| {name} | {value} |" for name, value in run.config.items())
            self._writer.add_text("config", f"| field | value |\n| --- | --- |\n{rows}", 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See Logger."""
        self._last = step
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self, status: str, summary: Mapping[str, float]) -> None:
        """See Logger."""
        self.log(self._last, {f"summary/{name}": value for name, value in summary.items()})
        self._writer.add_text("status", status, self._last)
        self._writer.close()

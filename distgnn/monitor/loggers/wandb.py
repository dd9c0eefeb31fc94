"""Metrics for Weights & Biases."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distgnn import register
from distgnn.config.fields import runtime
from distgnn.monitor.loggers.base import LibraryLogger, LoggedRun

_EXIT = {"finished": 0, "stopped": 130}


@dataclass(frozen=True)
class WandbConfig:
    """Options of the wandb logger. Account, server and mode are wandb's own: ``wandb login``, WANDB_MODE, WANDB_ENTITY."""

    project: str = runtime("distgnn")
    """Name of the project."""


@register.logger("wandb", WandbConfig)
class WandbLogger(LibraryLogger):
    """Log to Weights & Biases under the run's name; a resumed run continues the same wandb run."""

    library = "wandb"

    def __init__(self, config: WandbConfig, run: LoggedRun) -> None:
        wandb: Any = importlib.import_module("wandb")
        self._run = wandb.init(
            project=config.project,
            id=re.sub(r"[^\w.-]", "_", run.name)[:64],
            name=run.name,
            config=dict(run.config),
            dir=run.folder.uri.removeprefix("file://") if run.folder.local else None,
            resume=None if run.resumed_at is None else "allow",
            settings=wandb.Settings(silent=True),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See Logger."""
        self._run.log(dict(values), step=step)

    def finish(self, status: str, summary: Mapping[str, float]) -> None:
        """See Logger."""
        self._run.summary.update({**summary, "status": status})
        self._run.finish(exit_code=_EXIT.get(status, 1))

"""Metrics for MLflow."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distgnn import register
from distgnn.config.fields import runtime
from distgnn.monitor.loggers.base import LibraryLogger, LoggedRun

FILE = "mlflow.txt"
_STATUS = {"finished": "FINISHED", "stopped": "KILLED"}
_PARAMS_A_REQUEST = 100
_LONGEST = 500


@dataclass(frozen=True)
class MlflowConfig:
    """Options of the mlflow logger. The server is MLflow's own setting: MLFLOW_TRACKING_URI."""

    experiment: str = runtime("distgnn")
    """Name of the experiment."""


@register.logger("mlflow", MlflowConfig)
class MlflowLogger(LibraryLogger):
    """Log to the MLflow tracking server; the run id is kept in mlflow.txt, so that a resumed run continues it."""

    library = "mlflow"

    def __init__(self, config: MlflowConfig, run: LoggedRun) -> None:
        self._entities = importlib.import_module("mlflow.entities")
        self._client: Any = importlib.import_module("mlflow").MlflowClient()
        if run.resumed_at is not None and run.folder.size(FILE) is not None:
            self._id = run.folder.read(FILE).decode().strip()
            self._client.update_run(self._id, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(config.experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(config.experiment)
        self._id = self._client.create_run(experiment, run_name=run.name).info.run_id
        run.folder.write(FILE, f"{self._id}\n".encode())
        params = [self._entities.Param(name, str(value)[:_LONGEST]) for name, value in run.config.items()]
        for start in range(0, len(params), _PARAMS_A_REQUEST):
            self._client.log_batch(self._id, params=params[start : start + _PARAMS_A_REQUEST])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See Logger."""
        now = int(time.time() * 1000)
        rows = [self._entities.Metric(_plain(name), value, now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=rows)

    def finish(self, status: str, summary: Mapping[str, float]) -> None:
        """See Logger."""
        if summary:
            self.log(0, {f"summary/{name}": value for name, value in summary.items()})
        self._client.set_terminated(self._id, _STATUS.get(status, "FAILED"))


def _plain(name: str) -> str:
    """The name without the characters that MLflow refuses."""
    return re.sub(r"[^\w./ -]", "_", name)

"""The command ``distgnn pretrain``, for new runs and with ``--resume``."""

from __future__ import annotations

from distgnn.api.pretrain import Run, resumable_config
from distgnn.api.pretrain import pretrain as run_pretraining
from distgnn.api.pretrain import resume as resume_pretraining
from distgnn.commands.output import Output
from distgnn.config import PretrainConfig
from distgnn.errors import INTERRUPTED, RequestError
from distgnn.options import Globals, parse


def pretrain(config: PretrainConfig, output: Output) -> int:
    """Start a new run."""
    return _report(run_pretraining(config), output)


def resume(options: Globals, argv: list[str], output: Output) -> int:
    """Continue the run ``options.resume`` with its saved config, overridden by the flags in ``argv``."""
    if options.config:
        raise RequestError("--resume uses the run's own config; leave --config out")
    saved = resumable_config(options.resume)
    config = parse(PretrainConfig, "distgnn pretrain", argv, options, default=saved)
    return _report(resume_pretraining(options.resume, config), output)


def _report(run: Run, output: Output) -> int:
    stopped = run.status == "stopped"
    hint = f"; continue with: distgnn pretrain --resume {run.uri}" if stopped else ""
    value = {"run": run.name, "folder": run.uri, "status": run.status, "checkpoint": run.checkpoint}
    output.emit(value, f"{run.status}: run {run.uri}\ncheckpoint {run.checkpoint}{hint}")
    return INTERRUPTED if stopped else 0

"""distgnn pretrain: a new run, or --resume of one, in this process or on Ray."""

from __future__ import annotations

from dataclasses import replace

from distgnn.checkpoint.format import resolve
from distgnn.commands.output import Output, load_function
from distgnn.config import PretrainConfig
from distgnn.errors import INTERRUPTED, RequestError
from distgnn.models.encoder import check_kind
from distgnn.models.registry import import_modules
from distgnn.monitor.loggers.base import check_loggers
from distgnn.options import Globals, parse
from distgnn.pretraining.init_from import check_objective
from distgnn.pretraining.local import pretrain_here
from distgnn.pretraining.run import Run, new_run, resumed_run, run_config
from distgnn.storage.folder import open_folder


def pretrain(config: PretrainConfig, output: Output) -> int:
    """Start a new run; what the corpus cannot serve is refused before there is a folder."""
    _know_encoder(config)
    check_objective(config)
    check_loggers(config.loggers, open_folder(config.out))
    return _train(new_run(config), output)


def resume(options: Globals, words: list[str], output: Output) -> int:
    """Continue the run of ``options.resume`` with the flags in ``words`` on top of its saved config."""
    if options.config:
        raise RequestError("--resume uses the run's own config; leave --config out")
    saved = replace(run_config(options.resume), imports=())  # a folder names no code to run; people do
    config = parse(PretrainConfig, "distgnn pretrain", words, options, default=saved)
    _know_encoder(config)
    check_loggers(config.loggers, open_folder(options.resume))
    return _train(resumed_run(options.resume, config), output)


def _know_encoder(config: PretrainConfig) -> None:
    import_modules(config.imports)
    check_kind(config.encoder.kind)


def _train(run: Run, output: Output) -> int:
    status = _start(run)
    checkpoint = resolve(run.folder.uri).uri
    hint = f"; continue with: distgnn pretrain --resume {run.folder.uri}" if status == "stopped" else ""
    value = {"run": run.name, "folder": run.folder.uri, "status": status, "checkpoint": checkpoint}
    output.emit(value, f"{status}: run {run.folder.uri}\ncheckpoint {checkpoint}{hint}")
    return INTERRUPTED if status == "stopped" else 0


def _start(run: Run) -> str:
    if run.config.workers == 1:
        return pretrain_here(run)
    return load_function("distgnn.scale.train.pretrain:pretrain_on_ray")(run)

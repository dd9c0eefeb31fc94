"""distgnn pretrain: a new run, or --resume of one, in this process or on Ray."""

from __future__ import annotations

from dataclasses import replace

from distgnn import register
from distgnn.checkpoint.format import newest
from distgnn.commands.output import Output, load_function
from distgnn.config import PretrainConfig
from distgnn.errors import INTERRUPTED, RequestError, WorkError
from distgnn.monitor.loggers.base import check_loggers
from distgnn.options import Globals, parse
from distgnn.pretraining.local import pretrain_here
from distgnn.pretraining.run import Start, new_start, resumed_start, run_config
from distgnn.register import import_modules
from distgnn.storage.folder import Folder, open_folder


def pretrain(config: PretrainConfig, output: Output) -> int:
    """Start a new run; a corpus without what the objective needs is refused before there is a folder."""
    _know_encoder(config)
    check_loggers(config.loggers, open_folder(config.out))
    return _train(new_start(config), output)


def resume(options: Globals, words: list[str], output: Output) -> int:
    """Continue the run of ``options.resume`` with the flags in ``words`` on top of its saved config."""
    if options.config:
        raise RequestError("--resume uses the run's own config; leave --config out")
    saved = replace(run_config(options.resume), imports=())  # a folder names no code to run; people do
    config = parse(PretrainConfig, "distgnn pretrain", words, options, default=saved)
    _know_encoder(config)
    check_loggers(config.loggers, open_folder(options.resume))
    return _train(resumed_start(options.resume, config), output)


def _know_encoder(config: PretrainConfig) -> None:
    import_modules(config.imports)
    register.encoder.get(config.encoder.kind, "encoder.kind")


def _train(start: Start, output: Output) -> int:
    run, status = start.run, _run(start)
    checkpoint = _newest(run.folder)
    hint = f"; continue with: distgnn pretrain --resume {run.folder.uri}" if status == "stopped" else ""
    value = {"run": run.name, "folder": run.folder.uri, "status": status, "checkpoint": checkpoint}
    output.emit(value, f"{status}: run {run.folder.uri}\ncheckpoint {checkpoint}{hint}")
    return INTERRUPTED if status == "stopped" else 0


def _newest(folder: Folder) -> str:
    """The URI of the checkpoint that training has just written."""
    found = newest(folder)
    if found is None:
        raise WorkError(f"{folder.uri}: its checkpoints are gone; start a new run")
    return found.uri


def _run(start: Start) -> str:
    if start.run.config.workers == 1:
        return pretrain_here(start)
    return load_function("distgnn.scale.train.pretrain:pretrain_on_ray")(start)

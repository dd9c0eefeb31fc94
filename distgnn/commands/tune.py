"""distgnn tune: a new sweep, or --resume of one; the table, the pages, and the winner as files that other commands take."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from distgnn.commands.output import Output, load_function
from distgnn.config import TuneConfig
from distgnn.errors import INTERRUPTED, RequestError
from distgnn.monitor.loggers.base import LoggedRun, check_loggers, flat, open_loggers
from distgnn.options import Globals, ReportOptions, parse
from distgnn.report.sweep.data import view_of
from distgnn.report.sweep.page import write_sweep_report
from distgnn.report.sweep.table import terminal
from distgnn.search.records import SWEEP, Sweep, best_of, read_sweep, read_trials
from distgnn.search.sweep import new_sweep, resumed_sweep
from distgnn.search.winner import WINNER, read_result
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.uri import base_name


def tune(config: TuneConfig, output: Output) -> int:
    """Start a new sweep; what cannot work is refused before there is a folder."""
    check_loggers(config.loggers, open_folder(config.out))
    return _run(*new_sweep(config), output)


def resume(options: Globals, words: list[str], output: Output) -> int:
    """Continue the sweep of ``options.resume`` with the flags in ``words`` on top of its saved config."""
    if options.config:
        raise RequestError("--resume uses the sweep's own config; leave --config out")
    folder = open_folder(options.resume)
    saved = without_imports(read_sweep(folder).config)
    config = parse(TuneConfig, "distgnn tune", words, options, default=saved)
    check_loggers(config.loggers, folder)
    return _run(folder, resumed_sweep(folder, config), output)


def without_imports(config: TuneConfig) -> TuneConfig:
    """A folder names no code to run; people do."""
    groups = {name: replace(getattr(config, name), imports=()) for name in ("pretrain", "finetune", "transfer")}
    return replace(config, **groups)


def report(options: ReportOptions, output: Output) -> int:
    """Write the pages of a sweep anew, from what lies in its folder."""
    folder = open_folder(options.sweep)
    write_sweep_report(folder)
    output.emit(_value(folder, read_sweep(folder), ""), f"{terminal(view_of(folder))}\nwritten to {folder.uri}")
    return 0


def _run(folder: Folder, sweep: Sweep, output: Output) -> int:
    try:
        status = load_function("distgnn.scale.tune.sweep:run_sweep")(folder, sweep)
    finally:
        if folder.size(SWEEP) is not None:
            write_sweep_report(folder)
    log_sweep(folder, sweep, status)
    value = _value(folder, sweep, status)
    output.emit(value, f"{terminal(view_of(folder))}\n{_told(value)}")
    return INTERRUPTED if status == "stopped" else 0


def log_sweep(folder: Folder, sweep: Sweep, status: str) -> None:
    """Log score and seconds of each trial, at its number, when the search has ended; a resumed sweep logs all of them anew."""
    config, trials = sweep.config, read_trials(folder)
    logged = LoggedRun(base_name(folder.uri), folder, flat(config))
    with open_loggers(config.loggers, logged, config.metrics) as logs:
        logs.status = status
        for trial in trials:
            if trial.score is not None:
                logs.log(trial.number, {"trial/score": trial.score, "trial/seconds": trial.seconds})
        best = best_of(sweep, trials)
        if best is not None and best.score is not None:
            logs.summary = {"best/score": best.score, "best/trial": best.number}


def _value(folder: Folder, sweep: Sweep, status: str) -> dict[str, Any]:
    trials = read_trials(folder)
    best = best_of(sweep, trials)
    return {
        "sweep": folder.uri,
        "status": status,
        "trials": dict(Counter(trial.state for trial in trials)),
        "winner": best and {"number": best.number, "params": best.params, "score": best.score},
        "result": read_result(folder),
        "config": folder.sub(WINNER).uri if best else "",
    }


def _told(value: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in value["trials"].items())
    lines = [f"{value['status']}: sweep {value['sweep']} ({counts})"]
    if value["winner"]:
        lines.append(f"winner {json.dumps(value['winner'])}, in {value['config']}")
    if value["status"] == "stopped":
        lines.append(f"continue with: distgnn tune --resume {value['sweep']}")
    return "\n".join(lines)

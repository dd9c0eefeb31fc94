"""distgnn tune: a new sweep, or --resume of one; the table, the pages, and the winner as files that other commands take."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from distgnn.commands.output import Output, load_function
from distgnn.config import TuneConfig
from distgnn.corpus.storage import Folder, open_folder
from distgnn.errors import INTERRUPTED, RequestError
from distgnn.options import Globals, parse
from distgnn.report.sweep.write import write_sweep_report
from distgnn.search.records import Sweep, best_of, read_sweep, read_trials
from distgnn.search.sweep import new_sweep, resumed_sweep
from distgnn.search.winner import WINNER, read_result


def tune(config: TuneConfig, output: Output) -> int:
    """Start a new sweep; what cannot work is refused before there is a folder."""
    return _run(*new_sweep(config), output)


def resume(options: Globals, words: list[str], output: Output) -> int:
    """Continue the sweep of ``options.resume`` with the flags in ``words`` on top of its saved config."""
    if options.config:
        raise RequestError("--resume uses the sweep's own config; leave --config out")
    folder = open_folder(options.resume)
    saved = without_imports(read_sweep(folder).config)
    config = parse(TuneConfig, "distgnn tune", words, options, default=saved)
    return _run(folder, resumed_sweep(folder, config), output)


def without_imports(config: TuneConfig) -> TuneConfig:
    """A folder names no code to run; people do."""
    groups = {name: replace(getattr(config, name), imports=()) for name in ("pretrain", "finetune", "transfer")}
    return replace(config, **groups)


def _run(folder: Folder, sweep: Sweep, output: Output) -> int:
    status = load_function("distgnn.scale.tune:run_sweep")(folder, sweep)
    write_sweep_report(folder)
    trials = read_trials(folder)
    best = best_of(sweep, trials)
    states = {state: sum(trial.state == state for trial in trials) for state in dict.fromkeys(t.state for t in trials)}
    value = {
        "sweep": folder.uri,
        "status": status,
        "trials": states,
        "winner": None if best is None else {"number": best.number, "params": best.params, "score": best.score},
        "result": read_result(folder),
        "config": folder.sub(WINNER).uri,
    }
    output.emit(value, _told(value))
    return INTERRUPTED if status == "stopped" else 0


def _told(value: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in value["trials"].items())
    lines = [f"{value['status']}: sweep {value['sweep']} ({counts})"]
    if value["winner"]:
        lines.append(f"winner {json.dumps(value['winner'])}, in {value['config']}")
    if value["status"] == "stopped":
        lines.append(f"continue with: distgnn tune --resume {value['sweep']}")
    return "\n".join(lines)

"""The commands ``distgnn tune`` (new sweeps and ``--resume``) and ``distgnn report``."""

from __future__ import annotations

import json
from typing import Any

from distgnn.api.tune import SweepResults, resumable_config, resume_sweep
from distgnn.api.tune import tune as run_search
from distgnn.commands.output import Output
from distgnn.config import TuneConfig
from distgnn.errors import INTERRUPTED, RequestError
from distgnn.options import Globals, code_of, parse


def tune(config: TuneConfig, output: Output) -> int:
    """Start a new sweep."""
    return _report(run_search(config), output)


def resume(options: Globals, argv: list[str], output: Output) -> int:
    """Continue the sweep ``options.resume`` with its saved config, overridden by the flags in ``argv``."""
    if options.config:
        raise RequestError("--resume uses the sweep's own config; leave --config out")
    saved = resumable_config(options.resume, code_of(argv))
    config = parse(TuneConfig, "distgnn tune", argv, options, default=saved)
    return _report(resume_sweep(options.resume, config), output)


def _report(results: SweepResults, output: Output) -> int:
    value = results.to_json()
    output.emit(value, f"{results}\n{_summary(value)}")
    return INTERRUPTED if results.status == "stopped" else 0


def _summary(value: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in value["trials"].items())
    lines = [f"{value['status']}: sweep {value['sweep']} ({counts})"]
    if value["winner"]:
        lines.append(f"winner {json.dumps(value['winner'])}, in {value['config']}")
    if value["status"] == "stopped":
        lines.append(f"continue with: distgnn tune --resume {value['sweep']}")
    return "\n".join(lines)

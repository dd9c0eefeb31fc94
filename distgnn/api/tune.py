"""Search over configs: ``distgnn.tune`` and ``distgnn.resume_sweep``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from distgnn.api.arguments import build_config, code_names
from distgnn.api.output import refuse_names, write_config
from distgnn.api.results import Results
from distgnn.config import TuneConfig
from distgnn.config.base import check_code
from distgnn.loading import load_function
from distgnn.monitor.loggers.base import LoggedRun, check_loggers, flat, open_loggers
from distgnn.report.sweep.data import view_of
from distgnn.report.sweep.figures import history_figure
from distgnn.report.sweep.page import MARKDOWN, PAGE, write_sweep_report
from distgnn.report.sweep.table import terminal
from distgnn.search.domains import Choice, format_domain
from distgnn.search.records import RESULTS, SWEEP, TRIALS, Sweep, best_of, read_sweep, read_trials, results_table
from distgnn.search.sweep import new_sweep, resumed_sweep
from distgnn.search.winner import WINNER, read_result
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.lock import locked
from distgnn.storage.uri import base_name, text_of


@dataclass(frozen=True)
class SweepResults(Results):
    """A sweep in its folder.

    Attributes:
        folder: Folder with sweep.json, trials/, results.parquet, sweep.html and winner/.
        status: ``finished`` or ``stopped``; empty for a sweep that was only opened.
    """

    folder: Folder
    status: str = ""

    @classmethod
    def open(cls, uri: str | os.PathLike[str]) -> SweepResults:
        """Open a sweep.

        Args:
            uri: Folder of the sweep.

        Returns:
            The sweep.

        Raises:
            RequestError: There is no sweep.
        """
        folder = open_folder(uri)
        read_sweep(folder)
        return cls(folder)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each trial: state, score, seconds and parameters."""
        return results_table(read_trials(self.folder)).to_pandas()

    @property
    def best_params(self) -> dict[str, Any]:
        """Parameters of the trial with the best score; empty before any trial has a score."""
        best = best_of(read_sweep(self.folder), read_trials(self.folder))
        return dict(best.params) if best else {}

    def plot(self) -> Figure:
        """Draw the scores of the trials in order, and the best so far."""
        return history_figure(view_of(self.folder))

    def to_json(self) -> dict[str, Any]:
        """Return status, counts of trials, the winner and its test scores."""
        trials = read_trials(self.folder)
        best, result = best_of(read_sweep(self.folder), trials), read_result(self.folder)
        return {
            "sweep": self.folder.uri,
            "status": self.status,
            "trials": dict(Counter(trial.state for trial in trials)),
            "winner": best and {"number": best.number, "params": best.params, "score": best.score},
            "result": result and asdict(result),
            "config": self.folder.sub(WINNER).uri if best else "",
        }

    def __str__(self) -> str:
        return terminal(view_of(self.folder))


def tune(config: TuneConfig | None = None, **options: Any) -> SweepResults:
    """Search hyper-parameters with Ray Tune.

    Args:
        config: Config of the sweep. Alternatively, its fields as keyword options.
        **options: Fields of :class:`TuneConfig`, such as ``space``, ``trials``, ``scheduler``, ``pretrain`` and ``finetune``.
            ``space`` may be a dictionary of domains: a text such as ``"log(1e-4,1e-2)"``, or a list of values to choose from.

    Returns:
        The sweep, finished or stopped.

    Raises:
        RequestError: A field or range is wrong, or a sweep exists at ``out``. Nothing is written.

    Example:
        >>> finetune = {"corpus": "data/bace", "checkpoint": "runs/zinc", "epochs": 20}
        >>> sweep = distgnn.tune(space={"finetune.lr": "log(1e-4,1e-2)"}, trials=8, finetune=finetune)
        >>> sweep.best_params
    """
    chosen = tune_config(config, options)
    folder = open_folder(chosen.out)
    check_loggers(chosen.loggers, folder)
    with locked(folder):
        refuse_foreign_sweep(folder)
        return _run(*new_sweep(chosen))


def tune_config(config: TuneConfig | None, options: Mapping[str, Any]) -> TuneConfig:
    """Build the config of a sweep as :func:`build_config`, with ``space`` as in :func:`tune`."""
    space = options.get("space")
    if isinstance(space, Mapping):
        options = {**options, "space": [f"{name}={_domain(domain)}" for name, domain in space.items()]}
    return build_config(TuneConfig, config, options)


def _domain(domain: Any) -> str:
    return format_domain(Choice(tuple(domain))) if isinstance(domain, list | tuple) else str(domain)


def resume_sweep(uri: str | os.PathLike[str], config: TuneConfig | None = None, **options: Any) -> SweepResults:
    """Continue a sweep.

    Args:
        uri: Folder of the sweep.
        config: Config that replaces the saved one; it may only differ in resumable fields. None takes the saved config.
            Modules named in a saved ``imports`` are not imported; name them again, and the class of a saved
            ``weighting.library``.
        **options: Resumable fields to change, such as ``trials``.

    Returns:
        The sweep, finished or stopped.

    Raises:
        RequestError: There is no sweep, or a field that may not change differs.
    """
    uri = text_of(uri)
    folder = open_folder(uri)
    chosen = build_config(TuneConfig, config or resumable_config(uri, code_names(options)), options)
    check_loggers(chosen.loggers, folder)
    with locked(folder):
        return _run(folder, resumed_sweep(folder, chosen))


def resumable_config(uri: str, given: Collection[str] = ()) -> TuneConfig:
    """Read the saved config of the sweep at ``uri`` without its ``imports``: a folder never names code to run.

    Args:
        uri: The sweep.
        given: Code that the user names.

    Raises:
        RequestError: A class of a library (``weighting.library``) is not among ``given``.
    """
    config = read_sweep(open_folder(uri)).config
    groups = {name: replace(getattr(config, name), imports=()) for name in ("pretrain", "finetune", "transfer")}
    config = replace(config, **groups)
    check_code(config, given, f"resume {uri}")
    return config


def refuse_foreign_sweep(folder: Folder) -> None:
    """Raise RequestError if the folder of a new sweep holds files that distgnn has not written."""
    if folder.size(SWEEP) is None:
        refuse_names(folder, {TRIALS, RESULTS, WINNER, MARKDOWN, PAGE})


def _run(folder: Folder, sweep: Sweep) -> SweepResults:
    write_config(folder, sweep.config, "tune")
    try:
        status = load_function("distgnn.scale.tune.sweep:run_sweep")(folder, sweep)
    finally:
        if folder.size(SWEEP) is not None:
            write_sweep_report(folder)
    log_sweep(folder, sweep, status)
    return SweepResults(folder, status)


def log_sweep(folder: Folder, sweep: Sweep, status: str) -> None:
    """Log score and seconds of each trial, at its number, when the search has ended; a resumed sweep logs all of them again."""
    config, trials = sweep.config, read_trials(folder)
    logged = LoggedRun(base_name(folder.uri), folder, flat(config))
    with open_loggers(config.loggers, logged, config) as logs:
        logs.status = status
        for trial in trials:
            if trial.score is not None:
                logs.log(trial.number, {"trial/score": trial.score, "trial/seconds": trial.seconds})
        best = best_of(sweep, trials)
        if best is not None and best.score is not None:
            logs.summary = {"best/score": best.score, "best/trial": best.number}

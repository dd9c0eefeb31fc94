"""A sweep on Ray Tune: trials side by side, each in a process of its own, and at the end the last look.

The trials' records and folders are the only truth: a sweep that goes on is a new experiment of Ray Tune's, whose searcher and
scheduler are told what is known. Nothing that Ray Tune writes is ever read.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune import FailureConfig, RunConfig, Tuner

from distgnn.errors import WorkError
from distgnn.pretraining.local import stop_signals
from distgnn.report.sweep.live import SweepDisplay
from distgnn.report.sweep.page import Pages
from distgnn.scale.pool import start_ray
from distgnn.scale.train.failures import cause_of
from distgnn.scale.tune.capacity import Node, Room, room
from distgnn.scale.tune.schedulers import number_of, scheduler_of
from distgnn.scale.tune.searcher import LedgerCallback, LedgerSearcher, StopWhen
from distgnn.scale.tune.trial import TrialProcess, look_task
from distgnn.search.records import Sweep, TrialRecord, read_trials, write_results, write_sweep
from distgnn.search.sweep import proposals_of
from distgnn.search.trial_store import Ledger
from distgnn.search.winner import LOOKS, write_result, write_winner
from distgnn.storage.folder import Folder

Status = Literal["finished", "stopped"]
_POLL_SECONDS = 0.5
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
"""Ray Tune's own knobs: no logs of its own, and one result at a time, since each may be the last."""


@contextmanager
def _ray() -> Iterator[None]:
    """The Ray that is up, or one that is started and stopped here."""
    ours = not ray.is_initialized()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    start_ray(os.cpu_count() or 1)
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


def run_sweep(folder: Folder, sweep: Sweep) -> Status:
    """Begin or go on with ``sweep`` in ``folder``, until it is finished or stopped by a signal.

    Joins the running Ray (RAY_ADDRESS, or this process's own) or starts a local one. Raises RequestError where a trial can never
    fit the cluster, before anything is written; WorkError where no trial went to its end, and what the last look ran into.
    """
    with _ray():
        space = cluster_room(sweep)
        write_sweep(folder, sweep)
        start, known = time.time(), read_trials(folder)
        pages = Pages(folder)
        with SweepDisplay(sweep, known) as display, stop_signals(display) as stopping:

            def lasted() -> Sweep:
                return replace(sweep, wall=sweep.wall + time.time() - start)

            def show(trials: list[TrialRecord]) -> None:
                display.show(trials)
                write_sweep(folder, lasted())  # now, since a kill may come at any moment
                pages.refresh(lasted(), trials)

            concurrency = 0 if sweep.config.scheduler == "pbt" else space.concurrency
            ledger = Ledger(folder, sweep, proposals_of(sweep), known, concurrency, show)
            try:
                status = _watched(ledger, space, stopping)
            finally:
                write_sweep(folder, lasted())
            write_results(folder, ledger.trials())
            return _finish(ledger, space, display, stopping) if status == "finished" else status


def cluster_room(sweep: Sweep) -> Room:
    """Room for the trials of ``sweep`` on the Ray that is up; raises RequestError where there is none."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return room(sweep.config, [Node(found.get("CPU", 0.0), found.get("GPU", 0.0)) for found in alive])


def _watched(ledger: Ledger, space: Room, stopping: threading.Event) -> Status:
    """Run the trials in a thread, since Ray Tune takes over Ctrl-C in the main one."""
    if ledger.over:
        return "finished"
    failures: list[Exception] = []
    thread = threading.Thread(target=_tune, args=(ledger, space, failures), name="distgnn-tune", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        ledger.stopping = ledger.stopping or stopping.is_set()
    if failures:
        raise cause_of(failures[0])
    return "stopped" if ledger.stopping else "finished"


def _tune(ledger: Ledger, space: Room, failures: list[Exception]) -> None:
    trial: Any = tune.with_resources(TrialProcess(ledger.folder.uri, ledger.sweep).__call__, space.bundle)
    try:
        with tempfile.TemporaryDirectory(prefix="distgnn-tune-") as storage:  # what Ray Tune writes there nobody reads
            Tuner(
                trial,
                tune_config=tune.TuneConfig(
                    search_alg=LedgerSearcher(ledger),
                    scheduler=scheduler_of(ledger),
                    num_samples=-1,
                    reuse_actors=True,
                    trial_name_creator=_name,
                    trial_dirname_creator=_name,
                ),
                run_config=RunConfig(
                    name="sweep",
                    storage_path=storage,
                    failure_config=FailureConfig(max_failures=0),  # the ledger tries again
                    callbacks=[LedgerCallback(ledger)],
                    stop=StopWhen(ledger),
                    verbose=0,
                ),
            ).fit()
    except Exception as error:  # noqa: BLE001 - handed to the main thread, which raises it
        failures.append(error)


def _name(trial: Any) -> str:
    return f"{number_of(trial):04d}-{trial.trial_id}"


def _finish(ledger: Ledger, space: Room, display: SweepDisplay, stopping: threading.Event) -> Status:
    """The winner's files, and the last look in tasks of a trial's size."""
    folder, sweep, trials = ledger.folder, ledger.sweep, ledger.trials()
    best = write_winner(folder, sweep, trials)
    if best is None:
        reasons = [trial.reason for trial in trials if trial.reason]
        raise WorkError(
            f"{folder.uri}: no trial went to its end; the last reason: {(reasons or ['stopped early'])[-1]}"
        )
    if not sweep.config.final_seeds:
        return "finished"
    display.say(f"trial {best.number} is the best; now it and the default, {sweep.config.final_seeds} seeds each")
    task = ray.remote(look_task).options(**space.options)
    asked: list[Any] = [task.remote(folder.uri, sweep, best, name) for name in LOOKS]
    while len(ray.wait(asked, num_returns=len(asked), timeout=_POLL_SECONDS)[0]) < len(asked):
        if stopping.is_set():
            for answer in asked:
                ray.cancel(answer, force=True)
            return "stopped"
    try:
        looks = [found for answer in asked for found in ray.get(answer)]
    except RayError as error:
        raise cause_of(error) from error
    write_result(folder, sweep, best, looks)
    return "finished"

"""Runs a sweep on Ray Tune: parallel trials, each in its own process, then the final evaluation.

Trial records and folders hold the complete state. A resumed sweep is a new Tune experiment; files of Tune are never read.
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
from ray.tune import FailureConfig, PlacementGroupFactory, RunConfig, Tuner

from distgnn.errors import WorkError
from distgnn.pretraining.local import stop_signals
from distgnn.report.sweep.live import SweepDisplay
from distgnn.report.sweep.page import Pages
from distgnn.scale.pool import possible_nodes, start_ray
from distgnn.scale.train.failures import cause_of
from distgnn.scale.tune.hooks import NUMBER, StoreCallback, StoreSearcher, StoreStopper
from distgnn.scale.tune.trial import TrialFunction, evaluate_final_task
from distgnn.search.capacity import Capacity, NodeResources, capacity_of
from distgnn.search.records import Sweep, TrialRecord, read_trials, write_results, write_sweep
from distgnn.search.sweep import proposals_of
from distgnn.search.trial_store import TrialStore
from distgnn.search.winner import FINAL, write_result, write_winner
from distgnn.storage.folder import Folder
from distgnn.storage.temporary import remove_left_over, temporary_tail

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
"""Settings of Ray Tune: no loggers, and unbuffered results, since each result may stop its trial."""


@contextmanager
def _ray() -> Iterator[None]:
    """Use the running Ray, or start one and stop it on exit."""
    started = not ray.is_initialized()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    start_ray(os.cpu_count() or 1)
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def run_sweep(folder: Folder, sweep: Sweep) -> Status:
    """Start or resume a sweep and run it until it is finished or a signal stops it.

    Joins the running Ray (``RAY_ADDRESS``, or this process's own) or starts a local one.

    Args:
        folder: Folder of the sweep.
        sweep: The sweep.

    Returns:
        "finished" or "stopped".

    Raises:
        RequestError: A trial can never fit the cluster; raised before anything is written.
        WorkError: No trial finished, or the final evaluation failed.
    """
    with _ray():
        capacity = cluster_capacity(sweep)
        write_sweep(folder, sweep)
        start, known = time.time(), read_trials(folder)
        pages = Pages(folder)
        with SweepDisplay(sweep, known) as display, stop_signals(display) as stopping:

            def current() -> Sweep:
                return replace(sweep, wall=sweep.wall + time.time() - start)

            def show(trials: list[TrialRecord]) -> None:
                display.show(trials)
                write_sweep(folder, current())  # at every change, since the process may be killed
                pages.refresh(current(), trials)

            store = TrialStore(folder, sweep, proposals_of(sweep), known, capacity.concurrency, show)
            try:
                status = _run_trials(store, capacity, stopping)
            finally:
                write_sweep(folder, current())
            write_results(folder, store.trials())
            return _finish(store, capacity, display, stopping) if status == "finished" else status


def cluster_capacity(sweep: Sweep) -> Capacity:
    """Compute the capacity of the running Ray for the trials of a sweep; raises RequestError if none fits."""
    nodes = [NodeResources(node["CPU"], node["GPU"]) for node in possible_nodes()]
    return capacity_of(sweep.config, nodes)


def _run_trials(store: TrialStore, capacity: Capacity, stopping: threading.Event) -> Status:
    """Run Tune in a thread, since in the main thread it replaces the SIGINT handler."""
    if store.done:
        return "finished"
    failures: list[Exception] = []
    thread = threading.Thread(target=_tune, args=(store, capacity, failures), name="distgnn-tune", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        store.stopping = store.stopping or stopping.is_set()
    if failures:
        raise cause_of(failures[0])
    return "stopped" if store.stopping else "finished"


def _tune(store: TrialStore, capacity: Capacity, failures: list[Exception]) -> None:
    bundle = {"CPU": capacity.cpus, **({"GPU": capacity.gpus} if capacity.gpus else {})}
    function = TrialFunction(store.folder.uri, store.sweep).__call__
    trial: Any = tune.with_resources(function, PlacementGroupFactory([bundle]))
    try:
        remove_left_over(tempfile.gettempdir(), deep=False)
        with tempfile.TemporaryDirectory(temporary_tail(), "distgnn-tune-") as storage:
            Tuner(
                trial,
                tune_config=tune.TuneConfig(
                    search_alg=StoreSearcher(store),
                    num_samples=-1,
                    reuse_actors=True,
                    trial_name_creator=_name,
                    trial_dirname_creator=_name,
                ),
                run_config=RunConfig(
                    name="sweep",
                    storage_path=storage,
                    failure_config=FailureConfig(max_failures=0),  # the store retries
                    callbacks=[StoreCallback(store)],
                    stop=StoreStopper(store),
                    verbose=0,
                ),
            ).fit()
    except Exception as error:  # noqa: BLE001 - raised in the main thread
        failures.append(error)


def _name(trial: Any) -> str:
    return f"{trial.config[NUMBER]:04d}-{trial.trial_id}"


def _finish(store: TrialStore, capacity: Capacity, display: SweepDisplay, stopping: threading.Event) -> Status:
    """Write the winner's files and run the final evaluation, in Ray tasks with the resources of a trial."""
    folder, sweep, trials = store.folder, store.sweep, store.trials()
    best = write_winner(folder, sweep, trials)
    if best is None:
        reasons = [trial.reason for trial in trials if trial.reason]
        raise WorkError(f"{folder.uri}: no trial finished; the last reason: {(reasons or ['stopped early'])[-1]}")
    if not sweep.config.final_seeds:
        return "finished"
    display.say(
        f"trial {best.number} is the best; evaluating it and the default, {sweep.config.final_seeds} seeds each"
    )
    task = ray.remote(evaluate_final_task).options(num_cpus=capacity.cpus, num_gpus=capacity.gpus)
    pending: list[Any] = [task.remote(folder.uri, sweep, best, name) for name in FINAL]
    while len(ray.wait(pending, num_returns=len(pending), timeout=_POLL_SECONDS)[0]) < len(pending):
        if stopping.is_set():
            for result in pending:
                ray.cancel(result, force=True)
            return "stopped"
    try:
        evaluations = [found for result in pending for found in ray.get(result)]
    except RayError as error:
        raise cause_of(error) from error
    write_result(folder, sweep, best, evaluations)
    return "finished"

"""Pre-training on Ray Train: the driver, which starts the ranks and shows their progress.

Ray's own checkpoints are not used: a restarted worker group resumes from the newest checkpoint in the run folder.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import ray
from ray.train import ScalingConfig, TrainingFailedError

from distgnn.checkpoint.format import newest, step_of
from distgnn.config import to_json
from distgnn.errors import RequestError, WorkError
from distgnn.monitor.prometheus import serve_metrics
from distgnn.monitor.sink import MetricsSink
from distgnn.objectives.build import build_objective
from distgnn.pretraining.console import Display
from distgnn.pretraining.history import NAME, Snapshot, read_progress, write_failure
from distgnn.pretraining.local import stop_signals
from distgnn.pretraining.loop import Status
from distgnn.pretraining.metrics import SnapshotMetrics, log_run
from distgnn.pretraining.run import Run, Start, make_plan, planned_steps
from distgnn.scale.metrics import RaySink
from distgnn.scale.pool import start_ray
from distgnn.scale.train.datasets import UnitConfig
from distgnn.scale.train.failures import cause_of, forget_failure, raise_noted, remove_file
from distgnn.scale.train.preflight import Resources, preflight
from distgnn.scale.train.recovery import (
    RecoveryCallback,
    ResizeCallback,
    drop_reservation,
    missed_checkpoint,
    train_settings,
)
from distgnn.scale.train.stop_watcher import STOP
from distgnn.scale.train.stream import READING_CPUS, UnitSource
from distgnn.scale.train.trainer import fit_trainer, rank_trainer, run_config
from distgnn.storage.folder import Folder

_POLL_SECONDS = 1.0
_QUIET = "RAY_DATA_DISABLE_PROGRESS_BARS"


def pretrain_on_ray(start: Start) -> Status:
    """Train a run with ``config.workers`` Ray Train workers (at least ``config.min_workers``) until it ends or is stopped.

    Connects to Ray (RAY_ADDRESS, or this process's own) or starts a local instance.

    Args:
        start: The run.

    Returns:
        The final status.

    Raises:
        RequestError: If the cluster has too few resources.
        WorkError: If training fails. RequestError and DivergedError of workers are raised unchanged.
    """
    run = start.run
    os.environ.setdefault(_QUIET, "1")
    started = not ray.is_initialized()
    start_ray(os.cpu_count() or 1)
    try:
        resources = preflight(run)
        metrics = serve_metrics(run.config.metrics, run.name, RaySink(run.name))
        with metrics as sink, train_settings(run.config.recovery):
            return _watch(start, resources, sink)
    except (RequestError, WorkError) as error:
        write_failure(run.folder, run.name, error)
        raise
    finally:
        _clear(run.folder)
        if started:
            ray.shutdown()


def _watch(start: Start, resources: Resources, sink: MetricsSink) -> Status:
    """Run the trainer in a thread, since in the main thread it handles SIGINT, and show the progress written by rank 0."""
    run = start.run
    _clear(run.folder)
    shown = _snapshot(run.folder).get("updated")
    failures, gauges = list[Exception](), SnapshotMetrics(sink)
    thread = threading.Thread(target=fit, args=(start, resources, failures), name="distgnn-fit", daemon=True)
    with log_run(run) as logs, Display() as display, stop_signals(display) as stopping:
        thread.start()
        stop_sent = False
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
            if stopping.is_set() and not stop_sent:
                run.folder.write(STOP, b"")
                stop_sent = True
            if waited := missed_checkpoint(run.folder):
                display.say(_made_again(run, waited))
            snapshot = _snapshot(run.folder)
            if snapshot.get("updated") != shown:
                shown = snapshot["updated"]
                display.show(snapshot)
                gauges(snapshot)
                logs(snapshot)
        _raise_failure(run, failures)
        status = logs.group.status = read_progress(run.folder)["status"]
    return status


def _made_again(run: Run, waited: str) -> str:
    """Warning that workers are replaced without a checkpoint; ``waited``: for how many seconds the controller waited for one."""
    found, step = newest(run.folder), _snapshot(run.folder).get("step", 0)
    saved = step_of(found) if found else 0
    return (
        f"distgnn: warning: {run.folder.uri}: no checkpoint within {waited} s before the number of workers changes (a lost node?);"
        f" the new workers begin at step {saved}: {max(step - saved, 0)} steps are made again"
    )


def _raise_failure(run: Run, failures: list[Exception]) -> None:
    if failures:
        raise (cause_of(failures[0]) if isinstance(failures[0], TrainingFailedError) else failures[0])
    raise_noted(run.folder)


def _clear(folder: Folder) -> None:
    """Delete the stop file, the recorded failure, a warning and the reservation of an earlier run."""
    remove_file(folder, STOP)
    missed_checkpoint(folder)
    forget_failure(folder)
    drop_reservation(folder)


def fit(start: Start, resources: Resources, failures: list[Exception], until: int = 0) -> None:
    """Train the run of ``start``.

    Args:
        start: The run.
        resources: Resources of each worker.
        failures: Receives the exception if training fails.
        until: Stop after this many steps; 0 trains to the end.
    """
    run = start.run
    config = run.config
    source = _unit_source(start) if resources.reading != "rank" else None
    folder, datasets = run.folder.uri, source and source.datasets()
    callbacks: list[Any] = [RecoveryCallback(folder, config.recovery.settle_seconds), ResizeCallback(folder)]
    trainer = rank_trainer(
        "distgnn.scale.train.pretrain_rank:train_rank",
        {
            "folder": run.folder.uri,
            "config": to_json(config),
            "reader": start.reader,
            "reading": resources.reading,
            "cpus": resources.cpus,
            "reports": True,
            "until": until,
        },
        ScalingConfig(
            num_workers=(config.min_workers, config.workers) if config.min_workers else config.workers,
            use_gpu=resources.gpu,
            resources_per_worker={"CPU": resources.cpus, **({"GPU": 1} if resources.gpu else {})},
            elastic_resize_monitor_interval_s=config.recovery.resize_seconds,
        ),
        run_config(run.folder, run.name, config.max_failures, callbacks),
        datasets=datasets,
        dataset_config=source and UnitConfig(ray.put(source)),
    )
    fit_trainer(trainer, run.folder, failures)


def _unit_source(start: Start) -> UnitSource | None:
    """What Ray Data reads for a run; None if nothing is trained."""
    run, reader = start.run, start.reader
    objective = build_objective(run.config, reader.manifest.schema)
    if objective is None:
        return None
    plan = make_plan(run.config, reader)
    total = planned_steps(run.config, plan)
    return UnitSource(run.folder.uri, reader, plan, objective.prepare, total, RaySink(run.name), READING_CPUS)


def _snapshot(folder: Folder) -> Snapshot:
    return read_progress(folder) if folder.size(NAME) is not None else {}

"""Pre-training over databases on Ray Train.

Ray tasks compute the evidence of all tasks once, a database each, and the workers read it from the object store without copies.
There is no stream of units as for graphs: an episode takes random rows of a random task, so the evidence, a few MB a task, has to
be at hand anyway. Ray's own checkpoints are not used: restarted workers continue from the newest checkpoint in the run folder.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

import ray
import torch
from ray.train import ScalingConfig, TrainingFailedError

from distgnn.config import from_json, to_json
from distgnn.config.database_model import DatabasePretrainConfig
from distgnn.distributed import ProcessGroup
from distgnn.errors import DivergedError, RequestError, WorkError
from distgnn.relational.episodes import TaskData
from distgnn.relational.model_checkpoint import load_model
from distgnn.relational.pretraining import DatabaseRun, pretraining_pool, train_run
from distgnn.scale.pool import ordered_map, possible_resources, shared_cpus, start_ray
from distgnn.scale.train.failures import cause_of, forget_failure, has_failed, note_failure, raise_noted, remove_file
from distgnn.scale.train.recovery import default_environment
from distgnn.scale.train.trainer import fit_trainer, rank_trainer, run_config
from distgnn.storage.folder import Folder, open_folder

_PROGRESS = "progress.txt"
_POLL_SECONDS = 0.5
_QUIET = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}


def pretrain_on_ray(config: DatabasePretrainConfig) -> DatabaseRun:
    """Train the run in ``config.out`` with ``config.workers`` Ray Train workers.

    Connects to Ray (RAY_ADDRESS, or this process's own) or starts a local instance.

    Raises:
        RequestError: A database cannot be read, or the cluster has too few CPUs.
        WorkError: Training failed. RequestError and DivergedError of workers are raised unchanged.
    """
    folder, started = open_folder(config.out), not ray.is_initialized()
    start_ray(os.cpu_count() or 1)
    try:
        forget_failure(folder)
        share = shared_cpus(config.workers, possible_resources()["CPU"], "workers")
        with default_environment(_QUIET):
            pool = pretraining_pool(config, ordered_map(config.workers))
            return _watch(config, share, folder, pool)
    finally:
        forget_failure(folder)
        remove_file(folder, _PROGRESS)
        if started:
            ray.shutdown()


def _watch(config: DatabasePretrainConfig, share: float, folder: Folder, pool: list[TaskData]) -> DatabaseRun:
    """Run the trainer in a thread, since in the main thread it handles SIGINT, and show the progress that rank 0 writes."""
    failures, start = list[Exception](), time.monotonic()
    thread = threading.Thread(target=_fit, args=(config, share, folder, pool, failures), daemon=True)
    thread.start()
    shown = b""
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        told = folder.read_if_there(_PROGRESS) or b""
        if told != shown:
            sys.stderr.write(told.decode())
            shown = told
    if failures:
        raise_noted(folder)
        raise cause_of(failures[0]) if isinstance(failures[0], TrainingFailedError) else failures[0]
    raise_noted(folder)
    saved = load_model(folder.uri)
    return DatabaseRun(folder.uri, saved.uri, saved.losses, len(pool), time.monotonic() - start)


def _fit(
    config: DatabasePretrainConfig, share: float, folder: Folder, pool: list[TaskData], failures: list[Exception]
) -> None:
    settings = {"config": to_json(config), "pool": [ray.put(data) for data in pool]}
    scaling = ScalingConfig(num_workers=config.workers, use_gpu=False, resources_per_worker={"CPU": share})
    run = run_config(folder, "databases", config.max_failures)
    trainer = rank_trainer(f"{__name__}:train_rank", settings, scaling, run)
    fit_trainer(trainer, folder, failures)


def train_rank(settings: dict[str, Any], group: ProcessGroup) -> None:
    """Train the run of ``settings["config"]`` over the data ``settings["pool"]`` on one rank."""
    config = from_json(DatabasePretrainConfig, settings["config"])
    folder = open_folder(config.out)
    torch.set_num_threads(1)
    if has_failed(folder):
        return
    try:
        train_run(config, ray.get(settings["pool"]), group, lambda line: folder.write(_PROGRESS, line.encode()))
    except (RequestError, WorkError, DivergedError) as error:
        note_failure(folder, error)
        raise

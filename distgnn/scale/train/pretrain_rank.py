"""Pre-training on Ray Train: one rank. It imports nothing that only the driver needs, since that would delay every recovery."""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

import ray.train
import torch

from distgnn.config import PretrainConfig, from_json
from distgnn.corpus.stream import threaded_units
from distgnn.distributed import ProcessGroup
from distgnn.errors import DivergedError, RequestError
from distgnn.monitor.sink import MetricsSink
from distgnn.pretraining.history import Snapshot
from distgnn.pretraining.loop import Hooks, train
from distgnn.pretraining.run import Run, Units
from distgnn.register import import_modules
from distgnn.scale.metrics import RaySink
from distgnn.scale.train.failures import has_failed, note_failure
from distgnn.scale.train.placement import free_slots, workers_by_node
from distgnn.scale.train.recovery import answer_resize
from distgnn.scale.train.stop_watcher import StopWatcher
from distgnn.scale.train.stream import READING_CPUS, ray_units
from distgnn.storage.folder import open_folder

_REPLACED_SECONDS = 60.0


def train_rank(settings: dict[str, Any], group: ProcessGroup) -> None:
    """Train in one rank of Ray Train; see :func:`train_worker`."""
    ray.train.report({})  # calls RecoveryCallback.after_report on the controller
    train_worker(settings, group)


def train_worker(settings: dict[str, Any], group: ProcessGroup) -> None:
    """Train in one worker.

    Non-retryable errors are recorded in the run folder, so that a restarted worker group ends immediately.

    Args:
        settings: folder (URI of the run), config (as JSON), reader, reading, cpus (of each worker) and until.
        group: The training processes.
    """
    run = Run(open_folder(settings["folder"]), from_json(PretrainConfig, settings["config"]))
    if has_failed(run.folder):
        return
    sink = RaySink(run.name)
    try:
        units = (
            partial(ray_units, window=cast(Any, ray.train.get_dataset_shard), sink=sink)
            if _ray_reads(settings, group)
            else threaded_units
        )
        import_modules(run.config.imports)
        while _train_until_resized(run, settings, group, units, sink):
            time.sleep(_REPLACED_SECONDS)  # the controller ends this process
    except (RequestError, DivergedError) as error:
        note_failure(run.folder, error)
        raise


def _train_until_resized(
    run: Run, settings: dict[str, Any], group: ProcessGroup, units: Units, sink: MetricsSink
) -> bool:
    """Train; returns whether the workers have stopped in order to be replaced, the same on all of them."""
    with StopWatcher(run.folder) if group.is_main_process else nullcontext() as watcher:
        stop, warned = (watcher.stop, watcher.warned) if watcher else (_never, _never)
        report = _report if settings.get("reports") else None
        hooks = Hooks(units, stop, _ignore, sink, warned, report, settings.get("until", 0))
        train(run, settings["reader"], group, hooks)
    resizing = watcher is not None and watcher.resizing
    if resizing:
        answer_resize(run.folder)  # there is a checkpoint
    return bool(group.all_reduce(torch.tensor([float(resizing)], device=group.device)).item())


def _report(snapshot: Snapshot) -> None:
    """Show the run in Ray's dashboard, its Result and the callbacks of users."""
    parts = [snapshot.get("metrics", {}), {f"validation_{k}": v for k, v in snapshot.get("validation", {}).items()}]
    ray.train.report({"step": snapshot.get("step", 0), **parts[0], **parts[1]})


def _ray_reads(settings: dict[str, Any], group: ProcessGroup) -> bool:
    """Whether Ray Data reads for this group of workers: rank 0 looks whether a task fits beside it on some node. Collective."""
    if settings.get("reading", "rank") == "rank":
        return False
    workers = workers_by_node(group)
    spare = group.is_main_process and free_slots(workers, settings["cpus"], READING_CPUS) > 0
    return bool(group.all_reduce(torch.tensor([float(spare)], device=group.device)).item())


def _never() -> bool:
    return False


def _ignore(_: Snapshot) -> None:
    """Do nothing: workers write snapshots, the driver shows them."""

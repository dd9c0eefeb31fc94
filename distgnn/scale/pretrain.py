"""Pre-training on Ray Train: the engine's loop in several workers, each reading its share of the plan through Ray Data.

The checkpoints in the run folder are the only truth: a worker group that Ray restarts continues from the newest one.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from typing import Any

import ray
import ray.train.torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchTrainer

from distgnn.config import PretrainConfig, from_json, to_json
from distgnn.corpus.storage import Folder, open_folder
from distgnn.engine.display import Display
from distgnn.engine.loop import Hooks, Status, train
from distgnn.engine.metrics import SnapshotMeter
from distgnn.engine.pretrain import stop_signals
from distgnn.engine.progress import NAME, Snapshot, read_progress, write_failure
from distgnn.engine.prometheus import serve_metrics
from distgnn.engine.run import Run, open_corpus
from distgnn.engine.step import DivergedError
from distgnn.engine.world import World
from distgnn.errors import RequestError, WorkError
from distgnn.meter import Meter
from distgnn.models.registry import import_modules
from distgnn.scale.metrics import RayMeter
from distgnn.scale.pool import start_ray
from distgnn.scale.preflight import Resources, preflight
from distgnn.scale.stream import ray_units

_STOP, _FAILED, _RAY = "stop", "failed.json", "ray"
_POLL_SECONDS = 1.0
_QUIET = {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}


def pretrain_on_ray(run: Run) -> Status:
    """Train ``run`` with ``config.workers`` Ray Train workers until it is finished or stopped by a signal.

    Joins the running Ray (RAY_ADDRESS, or this process's own) or starts a local one. Raises RequestError where the cluster
    cannot carry the run, and what the workers raised, as itself.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    ours = not ray.is_initialized()
    start_ray(os.cpu_count() or 1)
    try:
        resources = preflight(run)
        with serve_metrics(run.config.metrics, run.name, RayMeter(run.name)) as meter:
            return _watch(run, resources, meter)
    except (RequestError, WorkError) as error:
        write_failure(run.folder, run.name, error)
        raise
    finally:
        for name in (_STOP, _FAILED):
            _remove(run.folder, name)
        if ours:
            ray.shutdown()


def _watch(run: Run, resources: Resources, meter: Meter) -> Status:
    """Run the trainer in a thread, since Ray takes over Ctrl-C in the main one; meanwhile show what the leading rank writes."""
    for name in (_STOP, _FAILED):
        _remove(run.folder, name)
    seen = _snapshot(run.folder).get("updated")
    failures, gauges = list[Exception](), SnapshotMeter(meter)
    thread = threading.Thread(target=_fit, args=(run, resources, failures), name="distgnn-fit", daemon=True)
    with Display() as display, stop_signals(display) as stopping:
        thread.start()
        asked = False
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
            if stopping.is_set() and not asked:
                run.folder.write(_STOP, b"")
                asked = True
            snapshot = _snapshot(run.folder)
            if snapshot.get("updated") != seen:
                seen = snapshot["updated"]
                display.show(snapshot)
                gauges(snapshot)
    if failures:
        raise (cause_of(failures[0]) if isinstance(failures[0], TrainingFailedError) else failures[0])
    raise_noted(run.folder)
    return read_progress(run.folder)["status"]


def _fit(run: Run, resources: Resources, failures: list[Exception]) -> None:
    trainer = TorchTrainer(
        _rank,
        train_loop_config={"folder": run.folder.uri, "config": to_json(run.config)},
        scaling_config=ScalingConfig(
            num_workers=run.config.workers,
            use_gpu=resources.gpu,
            resources_per_worker={"CPU": resources.cpus, **({"GPU": 1} if resources.gpu else {})},
        ),
        run_config=RunConfig(
            name=f"{run.name}-{secrets.token_hex(2)}",  # Ray continues a run whose name it knows; ours continue from our own files
            storage_path=run.folder.sub(_RAY).uri,
            failure_config=FailureConfig(max_failures=run.config.max_failures),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:  # noqa: BLE001 - handed to the main thread, which raises it
        failures.append(error)
    finally:
        if run.folder.sub(_RAY).names():
            run.folder.delete_folder(_RAY)


def _rank(settings: dict[str, Any]) -> None:
    train_worker(settings, World.detect(ray.train.torch.get_device()))


def train_worker(settings: dict[str, Any], world: World) -> None:
    """One training worker of the run in ``settings`` (folder, config as JSON).

    What trying again cannot mend is noted in the run folder, so that the next worker group ends at once.
    """
    run = Run(open_folder(settings["folder"]), from_json(PretrainConfig, settings["config"]))
    if has_failed(run.folder):
        return
    stop = _StopFile(run.folder) if world.leads else _never
    try:
        import_modules(run.config.imports)
        train(run, open_corpus(run.config), world, Hooks(ray_units, stop, _ignore, RayMeter(run.name)))
    except (RequestError, DivergedError) as error:
        note_failure(run.folder, error)
        raise


class _StopFile:
    """Whether the driver has left a stop file; looks at most once a second."""

    def __init__(self, folder: Folder) -> None:
        self._folder, self._next, self._found = folder, 0.0, False

    def __call__(self) -> bool:
        if not self._found and time.monotonic() >= self._next:
            self._found = self._folder.size(_STOP) is not None
            self._next = time.monotonic() + _POLL_SECONDS
        return self._found


def _never() -> bool:
    return False


def _ignore(_: Snapshot) -> None:
    """The driver shows snapshots; workers only write them."""


def _snapshot(folder: Folder) -> Snapshot:
    return read_progress(folder) if folder.size(NAME) is not None else {}


def _remove(folder: Folder, name: str) -> None:
    if folder.size(name) is not None:
        folder.delete(name)


def has_failed(folder: Folder) -> bool:
    """Whether a worker noted what trying again cannot mend."""
    return folder.size(_FAILED) is not None


def note_failure(folder: Folder, error: RequestError | WorkError) -> None:
    """Note it for the driver and for worker groups to come."""
    note = {"kind": "request" if isinstance(error, RequestError) else "work", "error": str(error)}
    folder.write(_FAILED, json.dumps(note).encode())


def forget_failure(folder: Folder) -> None:
    """Take the note away."""
    _remove(folder, _FAILED)


def raise_noted(folder: Folder) -> None:
    """Raise what a worker noted, if anything."""
    if has_failed(folder):
        note = json.loads(folder.read(_FAILED))
        raise (RequestError if note["kind"] == "request" else WorkError)(note["error"])


def cause_of(error: Exception) -> Exception:
    """What the workers raised: our own exceptions as themselves, anything else as a WorkError of one line."""
    found = list(error.worker_failures.values()) if isinstance(error, WorkerGroupError) else [error]
    chain = [link for failure in found for link in _links(failure)]
    for link in chain:
        if isinstance(link, RequestError | WorkError):
            return link
    last = str(chain[-1]).strip().splitlines() or [type(chain[-1]).__name__]
    return WorkError(f"training on Ray failed: {last[-1][:300]}; the run folder has the last checkpoint, use --resume")


def _links(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in found:
        found.append(link)
        link = getattr(link, "cause", None) or link.__cause__
    return found

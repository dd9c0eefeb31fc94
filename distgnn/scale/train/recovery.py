"""Recovery from lost workers, nodes and drivers on Ray Train.

Ray detects a lost node by missed heartbeats. It refreshes its count of resources, from which elastic worker groups are sized, every
20 s; a worker group that is sized before that waits for the lost node until its start times out. Therefore the controller waits
until Ray has detected the loss, which takes as long as the heartbeat settings of the cluster, and then triggers a refresh.

After a driver is lost, Ray keeps the CPUs reserved for its elastic workers for another 180 s. Therefore a run records the name of
its reservation, and a resumed run cancels it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import UserCallback

from distgnn.config import RecoveryConfig
from distgnn.errors import RequestError, WorkError
from distgnn.scale.private import ResizeHook, is_resizing
from distgnn.scale.train.failures import remove_file
from distgnn.scale.train.stop_watcher import RESIZE, STOP
from distgnn.storage.folder import Folder, open_folder

_VARIABLES = {
    "poll_seconds": "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S",
    "start_seconds": "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S",
}
_COORDINATOR = "AutoscalingCoordinator"
_RESERVATION, _MISSED = "reservation.txt", "resize.txt"
_ASKED_AT_ONCE, _LOOKS = 64, 2
_POLL_SECONDS, _CONNECT_SECONDS, _ANSWER_SECONDS, _CHECKPOINT_SECONDS = 0.2, 1.0, 5.0, 30.0


def train_settings(config: RecoveryConfig) -> AbstractContextManager[None]:
    """Set the environment variables that Ray Train reads its settings from, until the end of the context.

    A field that differs from its default replaces the variable; otherwise a variable that is set already is kept.
    """
    usual = RecoveryConfig()
    values = {field: (getattr(config, field), getattr(usual, field)) for field in _VARIABLES}
    chosen = {_VARIABLES[field]: str(value) for field, (value, default) in values.items() if value != default}
    others = {_VARIABLES[field]: str(value) for field, (value, default) in values.items() if value == default}
    return _environment(_missing(others) | chosen)


def default_environment(values: dict[str, str]) -> AbstractContextManager[None]:
    """Set the environment variables of ``values`` that are not set yet, until the end of the context."""
    return _environment(_missing(values))


def _missing(values: dict[str, str]) -> dict[str, str]:
    """Return the ``values`` of environment variables that are not set."""
    return {name: value for name, value in values.items() if name not in os.environ}


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables, and restore them on exit."""
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)
        os.environ.update(before)


class RecoveryCallback(UserCallback):
    """Callback of the Ray Train controller: waits until Ray has detected lost nodes, and records the reservation of the run.

    The wait blocks the controller (:meth:`after_exception`).

    Args:
        folder: URI of the run's folder.
        seconds: Maximum time to wait after workers were lost.
    """

    def __init__(self, folder: str, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:  # noqa: ARG002
        """Record the name under which Ray reserves resources for the workers. They report when they start, and once a minute."""
        with suppress(RequestError, WorkError):  # optional: without it, resuming after a lost driver takes 180 s longer
            open_folder(self.folder).write(_RESERVATION, f"train-{run_context.run_id}".encode())

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:  # noqa: ARG002
        """Wait until Ray has detected the lost nodes, then refresh its count of resources.

        This blocks the controller, which sizes the next group of workers as soon as this method returns: Ray calls it as a plain
        function, no public interface postpones the decision, and a wait elsewhere would come too late. It has nothing else to do
        then: the group has failed, and ranks that are left end with it. After the loss of a worker only, the first look suffices.
        """
        deadline = time.monotonic() + self.seconds
        while not _all_answer() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        _refresh_resources()


class ResizeCallback(ResizeHook):
    """Lets a group of workers write a checkpoint before it is replaced by a larger or smaller one.

    Without it, a resize costs the steps since the last checkpoint.

    Args:
        folder: URI of the run's folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:  # noqa: ARG002
        """Ask for the checkpoint once the controller has decided."""
        if is_resizing(current_state):
            request_checkpoint(open_folder(self.folder))


def request_checkpoint(folder: Folder) -> None:
    """Ask the workers to stop with a checkpoint, and wait until they have; at most 30 s.

    This blocks the controller, which cannot notice meanwhile that workers are lost. Therefore the wait also ends once a node is
    dead or does not answer, in two looks in a row. Without a checkpoint the driver is told (:func:`missed_checkpoint`): nobody sees
    what the controller writes to stderr.
    """
    with suppress(RequestError, WorkError):
        if not folder.write_new(STOP, RESIZE):  # the user stops the run
            return
        start, before, missing = time.monotonic(), _alive(), 0
        while folder.size(STOP) is not None:
            missing = 0 if before <= _alive() and _all_answer() else missing + 1
            waited = time.monotonic() - start
            if missing == _LOOKS or waited >= _CHECKPOINT_SECONDS:
                folder.write(_MISSED, f"{min(waited, _CHECKPOINT_SECONDS):.2g}".encode())
                break
            time.sleep(_POLL_SECONDS)
        answer_resize(folder)


def missed_checkpoint(folder: Folder) -> str | None:
    """Return, once, for how many seconds the controller has waited in vain for a checkpoint; None if it has not."""
    told = folder.read_if_there(_MISSED)
    if told is None:
        return None
    remove_file(folder, _MISSED)
    return told.decode()


def answer_resize(folder: Folder) -> None:
    """Delete the request for a checkpoint, unless the user has replaced it by a request to stop."""
    if folder.read_if_there(STOP) == RESIZE:
        folder.delete(STOP)


def _alive() -> set[str]:
    """Ids of the nodes that Ray takes for alive."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _all_answer() -> bool:
    """Whether every node that Ray takes for alive answers. They are asked at once: a silent one takes a second."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    with ThreadPoolExecutor(max(1, min(len(nodes), _ASKED_AT_ONCE))) as threads:
        return all(threads.map(_answers, nodes))


def _answers(node: dict[str, Any]) -> bool:
    """Return whether the raylet of a node accepts connections."""
    try:
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def drop_reservation(folder: Folder) -> None:
    """Release resources still reserved by a driver of the run that crashed."""
    if folder.size(_RESERVATION) is not None:
        _call_coordinator("cancel_request", folder.read(_RESERVATION).decode())
        remove_file(folder, _RESERVATION)


def _refresh_resources() -> None:
    """Refresh the count of resources from which Ray sizes elastic worker groups."""
    _call_coordinator("get_reserved_resources", "", recompute=True)


def _call_coordinator(method: str, *values: Any, **options: Any) -> None:
    """Call a method of the actor that sizes elastic worker groups.

    Its methods are not documented. If they have changed or there is no such actor, nothing happens; Ray refreshes its count every
    20 s and releases reservations after 180 s.
    """
    with suppress(RayError, ValueError, TypeError, AttributeError):
        coordinator = ray.get_actor(_COORDINATOR, namespace=_COORDINATOR)
        ray.get(getattr(coordinator, method).remote(*values, **options), timeout=_ANSWER_SECONDS)

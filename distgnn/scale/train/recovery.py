"""Getting over lost workers and nodes: Ray Train's knobs as our settings, and counting the nodes that are left at once.

After a node is lost, Ray notices it only by missed heartbeats, and what elastic groups are planned from is renewed every 20 s. A
group planned meanwhile waits for the lost node until its start times out. So the controller waits here until Ray has noticed, which
takes as long as the cluster's own heartbeat settings say, and then has the nodes counted again.

After a driver is lost, Ray holds the CPUs reserved for its elastic workers for 180 s more. So a run notes the name of its
reservation, and who resumes the run gives it back first.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import UserCallback

from distgnn.config import RecoveryConfig
from distgnn.scale.train.failures import remove_file
from distgnn.storage.folder import Folder

_VARIABLES = {
    "poll_seconds": "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S",
    "start_seconds": "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S",
}
_COORDINATOR, _CONTEXT = "AutoscalingCoordinator", "ray.train.v2._internal.execution.context"
_RESERVATION = "reservation.txt"
_LOOK_SECONDS, _CONNECT_SECONDS, _ANSWER_SECONDS = 0.2, 1.0, 5.0


def train_settings(config: RecoveryConfig) -> AbstractContextManager[None]:
    """The environment that Ray Train reads its settings from; variables that the user has set stay."""
    return default_environment({name: str(getattr(config, field)) for field, name in _VARIABLES.items()})


@contextmanager
def default_environment(values: dict[str, str]) -> Iterator[None]:
    """Set those environment variables of ``values`` that are not set, and remove them on exit."""
    ours = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


class Settle(UserCallback):
    """Runs on Ray Train's controller: after workers were lost, waits for Ray to notice the nodes that went with them.

    seconds: to wait at most.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:  # noqa: ARG002
        """Called with what the lost workers raised."""
        deadline = time.monotonic() + self.seconds
        while any(not _answers(node) for node in ray.nodes() if node["Alive"]) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        _count_again()


def _answers(node: dict[str, Any]) -> bool:
    """Whether the raylet of a node takes connections: a lost one refuses them, or says nothing."""
    try:
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def note_reservation(folder: Folder) -> None:
    """Write down, in a run's folder, the name under which Ray reserves what its workers need. Called by a training worker."""
    context = getattr(sys.modules.get(_CONTEXT), "get_train_context", None)
    with suppress(RuntimeError, AttributeError):  # no worker of Ray Train's, or a Ray that keeps the name elsewhere
        if context:
            folder.write(_RESERVATION, f"train-{context().train_run_context.run_id}".encode())


def drop_reservation(folder: Folder) -> None:
    """Give back what is still reserved for an earlier driver of the run in ``folder``, who did not live to do so."""
    if folder.size(_RESERVATION) is not None:
        _tell_coordinator("cancel_request", folder.read(_RESERVATION).decode())
        remove_file(folder, _RESERVATION)


def _count_again() -> None:
    """Have Ray renew, now, its count of what elastic groups can be planned on."""
    _tell_coordinator("get_reserved_resources", "", recompute=True)


def _tell_coordinator(method: str, *values: Any, **options: Any) -> None:
    """Call who plans elastic groups. Not part of Ray's public interface: where it has changed or there is none,
    nothing happens, and Ray counts its nodes every 20 s and forgets reservations after 180 s as ever."""
    with suppress(RayError, ValueError, TypeError, AttributeError):
        coordinator = ray.get_actor(_COORDINATOR, namespace=_COORDINATOR)
        ray.get(getattr(coordinator, method).remote(*values, **options), timeout=_ANSWER_SECONDS)

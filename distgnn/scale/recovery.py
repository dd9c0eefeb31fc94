"""Getting over lost workers and nodes: Ray Train's knobs as our settings, and counting the nodes that are left at once.

After a node is lost, Ray notices it only by missed heartbeats, and what elastic groups are planned from is renewed every 20 s. A
group planned meanwhile waits for the lost node until its start times out. So the controller waits here until Ray has noticed, which
takes as long as the cluster's own heartbeat settings say, and then has the nodes counted again.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import UserCallback

from distgnn.config import RecoveryConfig

_VARIABLES = {
    "poll_seconds": "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S",
    "start_seconds": "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S",
}
_COORDINATOR = "AutoscalingCoordinator"
_LOOK_SECONDS, _CONNECT_SECONDS, _ANSWER_SECONDS = 0.2, 1.0, 5.0


@contextmanager
def train_settings(config: RecoveryConfig) -> Iterator[None]:
    """The environment Ray Train reads its knobs from, while a trainer is started; what the user has set there stays."""
    ours = {name: str(getattr(config, field)) for field, name in _VARIABLES.items() if name not in os.environ}
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


def _count_again() -> None:
    """Have Ray renew, now, its count of what elastic groups can be planned on. Not part of Ray's public interface: where it has
    changed, the count is renewed every 20 s as ever."""
    with suppress(RayError, ValueError, TypeError, AttributeError):
        coordinator = ray.get_actor(_COORDINATOR, namespace=_COORDINATOR)
        ray.get(coordinator.get_reserved_resources.remote("", recompute=True), timeout=_ANSWER_SECONDS)

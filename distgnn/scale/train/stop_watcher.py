"""Polls for requests to stop and for draining nodes in a thread, so that training steps do not wait for storage or Ray."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

import ray
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.exceptions import RayError

from distgnn.errors import RequestError, WorkError
from distgnn.storage.folder import Folder

STOP, RESIZE = "stop", b"resize"
"""File in the run folder by which the driver requests the workers to stop, and its contents if the controller is about to
replace them by more or fewer workers."""
_SECONDS = 1.0
_DRAINING = "DRAINING"


def draining_nodes() -> list[str]:
    """Return the ids of draining nodes (a reclaimed spot instance, a node scaled down); empty if their state is not available."""
    if not ray.is_initialized():  # get_runtime_context would start a local Ray
        return []
    try:
        status = get_cluster_status(ray.get_runtime_context().gcs_address)
    except (RayError, RuntimeError):
        return []
    nodes = (*status.active_nodes, *status.idle_nodes)
    return sorted(str(node.node_id) for node in nodes if node.node_status == _DRAINING)


class StopWatcher:
    """Context manager that looks once a second for the stop file in the run folder and for draining nodes.

    Args:
        folder: The run's folder.
        draining: Returns the ids of the draining nodes.

    Attributes:
        resizing: Whether the workers stop in order to be replaced.
    """

    def __init__(self, folder: Folder, draining: Callable[[], list[str]] = draining_nodes) -> None:
        self._folder, self._draining = folder, draining
        self._stop, self._warned, self._closed = threading.Event(), threading.Event(), threading.Event()
        self.resizing = False

    def stop(self) -> bool:
        """Return whether the driver has requested to stop."""
        return self._stop.is_set()

    def warned(self) -> bool:
        """Return whether a node is draining."""
        return self._warned.is_set()

    def __enter__(self) -> StopWatcher:
        threading.Thread(target=self._watch, name="distgnn-stop-watcher", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.is_set():
            try:
                asked = self._folder.read_if_there(STOP)
                if asked is not None:
                    self.resizing = asked == RESIZE
                    self._stop.set()
            except (
                RequestError,
                WorkError,
            ):  # temporary; persistent errors are raised by the writes of the training loop
                pass
            (self._warned.set if self._draining() else self._warned.clear)()
            self._closed.wait(_SECONDS)

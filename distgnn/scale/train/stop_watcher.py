"""What the leading rank must hear of while it trains, asked for in a thread so that no step waits for storage or for Ray."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

import ray
from ray.exceptions import RayError

from distgnn.errors import RequestError, WorkError
from distgnn.storage.folder import Folder

STOP = "stop"
"""File in a run's folder by which the driver asks the ranks to stop."""
_SECONDS = 1.0


def draining_nodes() -> list[str]:
    """Ids of nodes that Ray was told will go (a spot instance reclaimed, a node scaled down); empty where Ray cannot tell."""
    state = getattr(getattr(ray, "_private", None), "state", None)
    ask = getattr(getattr(state, "state", None), "get_draining_nodes", None)
    try:
        return sorted(ask()) if ask else []
    except (RayError, RuntimeError):
        return []


class Lookout:
    """Looks about once a second, while its context is open, for the stop file in ``folder`` and for draining nodes."""

    def __init__(self, folder: Folder, draining: Callable[[], list[str]] = draining_nodes) -> None:
        self._folder, self._draining = folder, draining
        self._stop, self._warned, self._over = threading.Event(), threading.Event(), threading.Event()

    def stop(self) -> bool:
        """Whether the driver has asked to stop."""
        return self._stop.is_set()

    def warned(self) -> bool:
        """Whether some node is about to go."""
        return self._warned.is_set()

    def __enter__(self) -> Lookout:
        threading.Thread(target=self._watch, name="distgnn-lookout", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.is_set():
            try:
                if self._folder.size(STOP) is not None:
                    self._stop.set()
            except (RequestError, WorkError):  # storage is gone for now; whoever must write there says so
                pass
            (self._warned.set if self._draining() else self._warned.clear)()
            self._over.wait(_SECONDS)

"""Background thread that runs one task at a time beside training."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Run tasks in a daemon thread, one at a time. Results and exceptions are collected by :meth:`take`.

    The thread does not keep the process alive: an interrupt does not wait for unreachable storage.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._result: T | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a task is running."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[], T]) -> None:
        """Start ``work``. The result of the previous task must have been taken."""
        self._thread = threading.Thread(target=self._run, args=(work,), name=self._name, daemon=True)
        self._thread.start()

    def take(self) -> T | None:
        """Wait for the running task; return its result or raise its exception, once. None if there is no task."""
        self.wait()
        result, error = self._result, self._error
        self._result = self._error = None
        if error is not None:
            raise error
        return result

    def wait(self) -> None:
        """Wait for the running task and keep its result or exception for :meth:`take`."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._result = work()
        except BaseException as error:  # noqa: BLE001 - raised by take()
            self._error = error

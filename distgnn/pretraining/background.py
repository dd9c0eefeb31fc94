"""One piece of work at a time beside training, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Work goes in by :meth:`start` and its result comes out of :meth:`take`, once; so does what it raised.

    The thread dies with the process: an interrupted user does not wait for a storage that is gone.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._result: T | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether work is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[], T]) -> None:
        """Begin ``work``; what was begun before must have been taken."""
        self._thread = threading.Thread(target=self._run, args=(work,), name=self._name, daemon=True)
        self._thread.start()

    def take(self) -> T | None:
        """Wait for the work under way and give its result, or raise what it raised; None where there is nothing to take."""
        self.wait()
        result, error = self._result, self._error
        self._result = self._error = None
        if error is not None:
            raise error
        return result

    def wait(self) -> None:
        """Wait for the work under way; its result, or what it raised, stays to be taken."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._result = work()
        except BaseException as error:  # noqa: BLE001 - handed to whoever takes the result
            self._error = error

"""Prefetching: a thread fills a bounded queue while the step computes."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Generic, TypeVar

import torch

T = TypeVar("T")
_POLL_SECONDS = 0.1


class _End:
    """End of the source, with the exception that ended it, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Prefetch(Generic[T]):
    """Iterate over ``source`` in order, with up to ``depth`` items computed ahead by a thread. Exceptions keep their position.

    Use as a context manager; exit stops the thread and closes the iterator.

    Attributes:
        waited: Seconds blocked, not counting the first item.
    """

    def __init__(self, source: Iterator[T], depth: int = 4) -> None:
        self.waited = 0.0
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._closed = threading.Event()
        self._settled = threading.Event()
        self._first = True
        self._source = source
        self._thread = threading.Thread(target=self._fill, name="distgnn-prefetch", daemon=True)

    def __enter__(self) -> Prefetch[T]:
        threads = torch.get_num_threads()
        self._thread.start()
        self._settled.wait()
        torch.set_num_threads(threads)  # the thread's call also changed MKL's setting, which is global
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        start = time.perf_counter()
        item = self._queue.get()
        if not self._first:
            self.waited += time.perf_counter() - start
        self._first = False
        if isinstance(item, _End):
            self._queue.put(item)
            if item.error is not None:
                raise item.error
            raise StopIteration
        return item

    def _fill(self) -> None:
        # A second OpenMP thread pool makes the first one sleep between operations, which halves the speed.
        torch.set_num_threads(1)
        torch.get_num_threads()  # makes the setting thread-local before the consumer restores the global one
        self._settled.set()
        error: BaseException | None = None
        try:
            for item in self._source:
                if not self._put(item):
                    break
        except BaseException as found:  # noqa: BLE001 - raised in the consumer
            error = found
        finally:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
        self._put(_End(error))

    def _put(self, item: T | _End) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

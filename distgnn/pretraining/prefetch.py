"""Reading ahead: a thread fills a short queue while the step computes."""

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
    """Closes the queue, with the exception that ended the reading, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Prefetch(Generic[T]):
    """The items of an iterator, in order, made up to ``depth`` ahead by a thread. Its exceptions come out at their place.

    Use as a context manager: leaving it stops the thread and closes the iterator. ``waited``: seconds blocked after the first item.
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
        torch.set_num_threads(threads)  # the reader's call reached MKL, whose setting is the process's
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
        # A second pool of OpenMP threads would make the first one go to sleep between operations: half the speed.
        torch.set_num_threads(1)
        torch.get_num_threads()  # makes the setting this thread's own, before the consumer sets the process's back
        self._settled.set()
        error: BaseException | None = None
        try:
            for item in self._source:
                if not self._put(item):
                    break
        except BaseException as found:  # noqa: BLE001 - handed to the consumer, who raises it
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

"""A sweep's report as files in its folder: sweep.md, sweep.html and, when the sweep has ended, pictures/."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable

from distgnn.report.curves import PICTURES
from distgnn.report.sweep.data import View, view_of
from distgnn.report.sweep.importance import importance
from distgnn.report.sweep.page import Picture, draw, page
from distgnn.report.sweep.table import markdown
from distgnn.search.records import Sweep, TrialRecord
from distgnn.storage.folder import Folder

MARKDOWN, PAGE = "sweep.md", "sweep.html"
_EVERY = 30.0
_SHARE = 0.05
"""Of a sweep's time at most this much goes into pages that are drawn while it runs."""


def write_sweep_report(folder: Folder, sweep: Sweep | None = None, trials: Iterable[TrialRecord] | None = None) -> None:
    """Write sweep.md, sweep.html and pictures/NAME.png of the sweep in ``folder``; what is given is not read again.

    Raises RequestError where there is no sweep.
    """
    for picture, data in _write(folder, view_of(folder, sweep, trials)).items():
        folder.sub(PICTURES).write(f"{picture.name}.png", data)


class Pages:
    """Writes sweep.md and sweep.html of the sweep in ``folder`` anew while it runs, now and then. clock: seconds."""

    def __init__(self, folder: Folder, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._next = clock() + _EVERY

    def refresh(self, sweep: Sweep, trials: Iterable[TrialRecord]) -> None:
        """To be called at every event: does nothing but every 30 seconds, and more seldom where drawing takes long.

        A page that cannot be drawn is told on stderr: it must not stop the sweep.
        """
        begin = self._clock()
        if begin < self._next:
            return
        try:
            _write(self._folder, view_of(self._folder, sweep, trials))
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            sys.stderr.write(f"distgnn: the page of the sweep could not be drawn ({type(error).__name__}: {error})\n")
        end = self._clock()
        self._next = end + max(_EVERY, (end - begin) / _SHARE)


def _write(folder: Folder, view: View) -> dict[Picture, bytes]:
    found = importance(view)
    images = draw(view, found)
    folder.write(MARKDOWN, markdown(view, found).encode())
    folder.write(PAGE, page(view, found, images).encode())
    return images

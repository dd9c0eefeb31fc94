"""The report of a sweep: sweep.md, sweep.html (one self-contained file) and, at the end of the sweep, pictures/."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from distgnn.errors import printable
from distgnn.report.curves import PICTURES
from distgnn.report.page import Chart, Page, Section, render
from distgnn.report.sweep import texts
from distgnn.report.sweep.data import View, view_of
from distgnn.report.sweep.figures import Picture, pictures
from distgnn.report.sweep.study import Importance, importance
from distgnn.report.sweep.table import markdown, tables
from distgnn.search.records import Sweep, TrialRecord
from distgnn.storage.folder import Folder

MARKDOWN, PAGE = "sweep.md", "sweep.html"
_INTERVAL_SECONDS = 30.0
_MAX_SHARE = 0.05
"""Maximum share of a running sweep's time that is spent on pages."""


class Drawn(NamedTuple):
    """A sweep, its parameter importances if there are any, and its figures."""

    view: View
    importance: Importance | None
    pictures: list[Picture]


def draw(view: View) -> Drawn:
    """Compute the importances of a sweep and draw its figures, which takes seconds."""
    return Drawn(view, importance(view), pictures(view))


def page(view: View, found: Importance | None, shown: Sequence[Picture]) -> str:
    """Return the page as HTML. All texts are escaped, and the page loads no other files.

    Args:
        view: The sweep.
        found: Parameter importances, if there are any.
        shown: The figures.
    """
    charts = [Chart(picture.title, picture.caption, picture.data) for picture in shown]
    sections = [Section(table.heading, tables=[table._replace(heading="")]) for table in tables(view, found)]
    title, about = f"Sweep {view.name}", f"{texts.about(view)} {texts.standing(view)}"
    return render(Page(title, about, [*sections, Section("Figures", charts=charts)]))


def write_sweep_report(
    folder: Folder, sweep: Sweep | None = None, trials: Iterable[TrialRecord] | None = None
) -> Drawn:
    """Write sweep.md, sweep.html and pictures/NAME.png of the sweep in ``folder``.

    Args:
        folder: Folder of the sweep.
        sweep: Its sweep.json if already read.
        trials: Its trial records if already read.

    Returns:
        What has been drawn.

    Raises:
        RequestError: There is no sweep, or a file of it is damaged.
    """
    drawn = _write(folder, view_of(folder, sweep, trials))
    for picture in drawn.pictures:
        folder.sub(PICTURES).write(f"{picture.name}.png", picture.data)
    return drawn


class Pages:
    """Rewrites sweep.md and sweep.html periodically while a sweep runs.

    Args:
        folder: Folder of the sweep.
        clock: Returns the time in seconds.
    """

    def __init__(self, folder: Folder, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._next = clock() + _INTERVAL_SECONDS

    def refresh(self, sweep: Sweep, trials: Iterable[TrialRecord]) -> None:
        """Rewrite the page every 30 seconds, or less often if drawing takes long.

        A page that cannot be drawn is reported on stderr and does not stop the sweep.
        """
        begin = self._clock()
        if begin < self._next:
            return
        try:
            _write(self._folder, view_of(self._folder, sweep, trials))
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = printable(f"{type(error).__name__}: {error}")
            sys.stderr.write(f"distgnn: the page of the sweep could not be drawn ({reason})\n")
        end = self._clock()
        self._next = end + max(_INTERVAL_SECONDS, (end - begin) / _MAX_SHARE)


def _write(folder: Folder, view: View) -> Drawn:
    drawn = draw(view)
    folder.write(MARKDOWN, printable(markdown(view, drawn.importance)).encode())
    folder.write(PAGE, printable(page(view, drawn.importance, drawn.pictures)).encode())
    return drawn

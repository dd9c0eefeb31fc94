"""Progress of a sweep on stderr: a live table on a terminal, otherwise a line per ended trial."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from distgnn.errors import printable
from distgnn.pretraining.console import Screen
from distgnn.report.sweep import texts
from distgnn.report.sweep.data import View, leader, ordered, resolved
from distgnn.search.records import ENDED, Sweep, TrialRecord

_MAX_FINISHED, _MAX_RUNNING = 5, 10
"""Most rows of finished and of running trials in the table."""


class SweepDisplay(Screen):
    """Console display of a sweep.

    Args:
        sweep: The sweep.
        known: Trials of earlier sessions, which are not printed again.
        console: Where to print; stderr by default.
    """

    def __init__(self, sweep: Sweep, known: Iterable[TrialRecord] = (), console: Console | None = None) -> None:
        super().__init__(console)
        self._sweep, self._space = sweep, resolved(sweep)
        self._printed = {trial.number for trial in known if trial.state in ENDED}
        self._began = time.monotonic()

    def show(self, trials: Sequence[TrialRecord]) -> None:
        """Show the current state of the trials."""
        view = View("", self._sweep, self._space, tuple(trials))
        if self.live:
            self.live.update(Group(Text(printable(self._standing(view))), table(view)), refresh=True)
            return
        for trial in trials:
            if trial.state in ENDED and trial.number not in self._printed:
                self._printed.add(trial.number)
                self.say(f"{time.strftime('%H:%M:%S')} {line(view, trial)} | {self._standing(view)}")

    def _standing(self, view: View) -> str:
        earlier = self._sweep.wall
        return f"{texts.standing(view)} | {texts.seconds(earlier + time.monotonic() - self._began)}"


def line(view: View, trial: TrialRecord) -> str:
    """Return one line on an ended trial: state, score, duration, settings and reason of failure."""
    parts = [f"trial {trial.number} {trial.state}"]
    if trial.rungs:
        parts.append(
            f"validation {view.sweep.metric} {texts.score(view, trial.score)} after {trial.fidelity} {view.sweep.axis}"
        )
    parts += [texts.seconds(trial.seconds), texts.settings(view, trial)]
    return ", ".join([*parts, *([" ".join(trial.reason.split())] if trial.reason else [])])


def table(view: View) -> Table:
    """Return a table of the best and of the running trials."""
    shown = Table("trial", "state", f"val {view.sweep.metric}", view.sweep.axis, "time", "settings")
    best = leader(view)
    finished = [trial for trial in ordered(view) if trial.state == "finished"][:_MAX_FINISHED]
    for trial in [*finished, *view.of("running")[:_MAX_RUNNING]]:
        number = f"{trial.number} ★" if best is not None and trial.number == best.number else str(trial.number)
        progress = f"{trial.fidelity}/{view.sweep.budget}"
        cells = number, trial.state, texts.score(view, trial.score), progress, texts.seconds(trial.seconds)
        shown.add_row(*(Text(printable(cell)) for cell in (*cells, texts.settings(view, trial))))
    return shown

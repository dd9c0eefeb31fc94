"""Figures of a sweep over time: the best score so far, every trial's scores rung by rung, score against seconds."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from distgnn.report.sweep import texts
from distgnn.report.sweep.data import View
from distgnn.report.sweep.numbers import best_so_far, by_end, leader, pareto, scored
from distgnn.report.sweep.style import BEST, CLONE, EARLY, FINISHED, FRONT, SHADES, STAR, STOPPED, sheet
from distgnn.search.records import TrialRecord

_FEW_RUNGS = 10
_ABOVE = "outside upper right"
"""A legend there hides no point."""


def progress(view: View) -> Figure | None:
    """Scores in the order trials ended, and the best of them so far; None before the first has ended."""
    ended = by_end(view)
    if not ended:
        return None
    figure, axes = sheet()
    place = {trial.number: number for number, trial in enumerate(ended, start=1)}
    whole = [trial for trial in ended if trial.state == "finished"]
    early = [trial for trial in ended if trial.state == "stopped"]
    axes.scatter([place[t.number] for t in whole], _y(view, whole), s=34, color=FINISHED, label="finished", zorder=3)
    if early:
        axes.scatter([place[t.number] for t in early], _y(view, early), **EARLY, label="stopped early, last score")
    best = best_so_far(view) * texts.scale(view)[0]
    axes.step(np.arange(1, len(best) + 1), best, where="post", color=BEST, linewidth=2, label="best so far")
    first = leader(view)
    if first is not None and first.number in place:
        axes.scatter([place[first.number]], _y(view, [first]), **STAR)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trials ended", ylabel=label(view))
    figure.legend(loc=_ABOVE, ncols=3, fontsize="small")
    return figure


def rungs(view: View) -> Figure | None:
    """A line a trial through its rungs, finished ones coloured by their last score; None where no trial has two rungs."""
    trials = [trial for trial in view.trials if trial.rungs and trial.state != "failed"]
    if all(len(trial.rungs) < 2 for trial in trials):
        return None
    figure, axes = sheet(8.2)
    whole = scored(view)
    values = _y(view, whole)
    shade = ScalarMappable(Normalize(*_ends(values)), SHADES)
    colors = dict(zip((trial.number for trial in whole), _colors(shade, values), strict=True))
    for trial in sorted(trials, key=lambda trial: trial.state == "finished"):
        _curve(axes, view, trial, colors.get(trial.number, STOPPED))
    best = leader(view)
    if best is not None and best.rungs:
        axes.scatter([best.rungs[-1].fidelity], _y(view, [best]), **STAR)
    if whole:
        figure.colorbar(shade, ax=axes, label="last score of a finished trial", pad=0.02)
    _mark_rungs(axes, sorted({rung.fidelity for trial in trials for rung in trial.rungs}))
    axes.set(xlabel=view.sweep.axis, ylabel=label(view))
    _explain(figure, view)
    return figure


def _colors(shade: ScalarMappable, values: list[float]) -> list[str]:
    return [to_hex((red, green, blue)) for red, green, blue, _ in shade.to_rgba(np.array(values)).tolist()]


def _curve(axes: Axes, view: View, trial: TrialRecord, color: str) -> None:
    x = [rung.fidelity for rung in trial.rungs]
    y = [texts.scale(view)[0] * rung.score for rung in trial.rungs]
    axes.plot(x, y, color=color, marker=".", linewidth=1.4, linestyle=":" if trial.state == "running" else "-")
    if trial.state == "stopped":
        axes.scatter(x[-1:], y[-1:], **EARLY)
    cloned = [clone.after for clone in trial.clones if clone.after < len(x)]
    if cloned:
        axes.scatter([x[place] for place in cloned], [y[place] for place in cloned], **CLONE)


def _explain(figure: Figure, view: View) -> None:
    """A legend of the marks that there are."""
    shown = []
    if view.of("stopped"):
        shown.append(Line2D([], [], color=STOPPED, marker="x", label="stopped early"))
    if view.of("running"):
        shown.append(Line2D([], [], color=STOPPED, marker=".", linestyle=":", label="still running"))
    if any(trial.clones for trial in view.trials):
        cloned = Line2D([], [], linestyle="none", marker="D", markerfacecolor="none", markeredgecolor=FRONT)
        cloned.set_label("with weights of another trial")
        shown.append(cloned)
    if shown:
        figure.legend(handles=shown, loc=_ABOVE, ncols=3, fontsize="small")


def seconds(view: View) -> Figure | None:
    """Score against seconds of the finished trials and their Pareto front; None before the first has finished."""
    whole, front = scored(view), pareto(view)
    if not whole:
        return None
    figure, axes = sheet()
    axes.scatter([t.seconds for t in whole], _y(view, whole), s=34, color=FINISHED, label="finished", zorder=3)
    axes.step(
        [t.seconds for t in front], _y(view, front), where="post", color=FRONT, linewidth=1.8, label="Pareto front"
    )
    axes.scatter([t.seconds for t in front], _y(view, front), s=60, facecolors="none", edgecolors=FRONT, zorder=4)
    for trial in front:
        axes.annotate(
            str(trial.number),
            (trial.seconds, _y(view, [trial])[0]),
            xytext=(5, -11 if view.higher_is_better else 5),
            textcoords="offset points",
            fontsize="small",
        )
    axes.set(xlabel="seconds of the trial", ylabel=label(view))
    figure.legend(loc=_ABOVE, ncols=3, fontsize="small")
    return figure


def label(view: View) -> str:
    """Of an axis of scores."""
    return f"validation {view.sweep.metric}{' x 100' if view.higher_is_better else ''}"


def _y(view: View, trials: list[TrialRecord]) -> list[float]:
    factor = texts.scale(view)[0]
    return [factor * trial.score for trial in trials if trial.score is not None]


def _mark_rungs(axes: Axes, fidelities: list[int]) -> None:
    """Ticks at the rungs where they are few; a log scale where they grow by a factor."""
    if fidelities[-1] >= 8 * fidelities[0] > 0:
        axes.set_xscale("log")
    if len(fidelities) <= _FEW_RUNGS:
        axes.set_xticks(fidelities, [str(fidelity) for fidelity in fidelities])
        axes.set_xticks([], minor=True)


def _ends(values: list[float]) -> tuple[float, float]:
    return (min(values), max(values)) if values else (0.0, 1.0)

"""Figures of a sweep as PNG, drawn by ``optuna.visualization.matplotlib``.

Only the heat map over a grid of two parameters (as Fig. 3(b) of L2P-GNN) is drawn by this module, since Optuna lacks it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import matplotlib
import numpy as np
import optuna
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter
from optuna.visualization import matplotlib as plots

from distgnn.report.png import png
from distgnn.report.sweep import texts
from distgnn.report.sweep.data import View, few_points, leader, scored
from distgnn.report.sweep.study import comparable_study, evaluator, study_of
from distgnn.search.domains import Value

_LEGEND_TRIALS = 20
"""Optuna's colour map of trials has this many colours."""
_PANELS = 4
_CAPTIONS = {
    "progress": ("Optimization history", "Finished trials by number, and the best score so far."),
    "rungs": ("Learning curves", "A line per trial."),
    "grid": ("Scores over the grid", "Mean of a cell's finished trials. Orange frame: best trial; dashed: default."),
    "importance": (
        "Parameter importances",
        "Share of the score variance that single parameters explain (fANOVA), interactions left out.",
    ),
    "slices": ("Slices", "Finished trials: score against one parameter."),
    "parallel": ("Parallel coordinates", "A line per finished trial, from its score through its parameters."),
    "seconds": ("Score and seconds", "Finished trials. Red: the Pareto front."),
}


class Picture(NamedTuple):
    """A figure of the page: its file name without suffix, title, caption and PNG bytes."""

    name: str
    title: str
    caption: str
    data: bytes


def pictures(view: View) -> list[Picture]:
    """Draw the figures for which the sweep has data."""
    found: list[Picture] = []
    with drawing():
        for name, figure in _figures(view):
            title, caption = _CAPTIONS[name.partition("-")[0]]
            if name == "rungs" and any(trial.clones for trial in view.trials):
                caption += " Diamonds: continued with the weights of another trial."
            found.append(Picture(name, title, caption, png(figure)))
            pyplot.close(figure)
    return found


@contextmanager
def drawing() -> Iterator[None]:
    """Context manager that restores the state of pyplot and silences Optuna's warnings about experimental functions."""
    backend, known = pyplot.get_backend(), set(pyplot.get_fignums())
    pyplot.switch_backend("agg")
    try:
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.simplefilter("ignore", UserWarning)  # matplotlib: an axis whose values are all equal
            yield
    finally:
        for number in set(pyplot.get_fignums()) - known:
            pyplot.close(number)
        pyplot.switch_backend(backend)


def _figures(view: View) -> Iterator[tuple[str, Figure]]:
    """Yield (name, figure) in the order of the page."""
    study, label = study_of(view), score_label(view)
    finished = bool(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)))
    if finished:
        yield "progress", _figure(plots.plot_optimization_history(study, target_name=label))
    if any(len(trial.rungs) > 1 for trial in view.trials if trial.state != "failed"):
        yield "rungs", learning_curves(view, study)
    if finished and len(view.space) == 2 and all(map(few_points, view.space.values())):
        yield "grid", heat_map(view)
    if (comparable := comparable_study(view)) is not None:
        about = f"{label} after {comparable[1]} {view.sweep.axis}"
        bars = plots.plot_param_importances(comparable[0], evaluator=evaluator(), target_name=about)
        yield "importance", _figure(bars)
    if finished and view.space:
        yield from _slices(study, list(texts.short(view).values()), label)
        with pyplot.style.context("default"):  # without the grid lines of Optuna's style
            figure = _figure(plots.plot_parallel_coordinate(study, target_name=label))
        figure.set_size_inches(max(7.0, 1.4 * len(view.space) + 3.0), 5.0)
        yield "parallel", figure
    if finished:
        both = study_of(view, seconds=True)
        yield "seconds", _figure(plots.plot_pareto_front(both, target_names=[label, "seconds of the trial"]))


def history_figure(view: View) -> Figure:
    """Draw the scores of the trials in order, and the best so far (Optuna's optimization history)."""
    with drawing():
        return _figure(plots.plot_optimization_history(study_of(view), target_name=score_label(view)))


def _figure(axes: Axes | np.ndarray) -> Figure:
    """Return the figure of one or several axes."""
    return np.ravel(np.asarray(axes))[0].get_figure()


def learning_curves(view: View, study: optuna.Study) -> Figure:
    """Draw the scores of each trial over its rungs, with a mark where it continued with the weights of another trial."""
    axes = plots.plot_intermediate_values(study)
    axes.set(xlabel=view.sweep.axis, ylabel=score_label(view))
    legend = axes.get_legend()
    if legend is not None and len(view.trials) > _LEGEND_TRIALS:
        legend.remove()
    factor = texts.scale(view)[0]
    cloned = [
        (trial.rungs[clone.after].fidelity, factor * trial.rungs[clone.after].score)
        for trial in view.trials
        for clone in trial.clones
        if clone.after < len(trial.rungs)
    ]
    if cloned:
        axes.scatter(*zip(*cloned, strict=True), marker="D", facecolors="none", edgecolors="black", zorder=4)
    return _figure(axes)


def _slices(study: optuna.Study, names: list[str], label: str) -> Iterator[tuple[str, Figure]]:
    """Yield slice plots of a few parameters each, so that they stay legible."""
    for start in range(0, len(names), _PANELS):
        panels = np.ravel(np.asarray(plots.plot_slice(study, names[start : start + _PANELS], target_name=label)))
        for axes in panels:
            axes.xaxis.set_minor_formatter(NullFormatter())  # labels of a narrow log axis would overlap
        yield f"slices-{start // _PANELS + 1}" if start else "slices", _figure(panels)


def heat_map(view: View) -> Figure:
    """Draw the mean score of the finished trials of each pair of values of the two parameters."""
    (down, across), (first, second) = view.space, map(few_points, view.space.values())
    factor, decimals = texts.scale(view)
    means = factor * cell_means(view, down, across)
    figure = Figure(figsize=(2.6 + 0.85 * len(second), 1.7 + 0.62 * len(first)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.ma.masked_invalid(means), cmap="viridis", origin="lower", aspect="auto")
    axes.set_facecolor("#eeeeee")
    middle = (np.nanmin(means) + np.nanmax(means)) / 2
    for (row, column), mean in np.ndenumerate(means):
        text = f"{mean:.{decimals}f}" if np.isfinite(mean) else "-"
        axes.text(column, row, text, ha="center", va="center", color="white" if mean < middle else "black")
    axes.set_xticks(range(len(second)), map(texts.setting, second))
    axes.set_yticks(range(len(first)), map(texts.setting, first))
    axes.grid(visible=False)
    axes.set(xlabel=texts.short(view)[across], ylabel=texts.short(view)[down])
    best = leader(view)
    for params, color, line in ((best.params if best else {}, "#E69F00", "-"), (view.default, "#000000", "--")):
        if params.get(down) in first and params.get(across) in second:
            corner = second.index(params[across]) - 0.47, first.index(params[down]) - 0.46
            frame = Rectangle(corner, 0.94, 0.92, fill=False, edgecolor=color, linewidth=2.5, linestyle=line)
            axes.add_patch(frame)
    figure.colorbar(image, ax=axes, label=score_label(view))
    return figure


def cell_means(view: View, down: str, across: str) -> np.ndarray:
    """Return the mean score of the finished trials of each cell.

    Shape:
        float [values of ``down``, values of ``across``]; NaN where no trial has finished.
    """
    found: dict[tuple[Value | None, Value | None], list[float]] = {}
    for trial in scored(view):
        found.setdefault((trial.params.get(down), trial.params.get(across)), []).append(trial.score or 0.0)
    rows, columns = few_points(view.space[down]), few_points(view.space[across])
    return np.array([[np.mean(found.get((row, column), [np.nan])) for column in columns] for row in rows])


def score_label(view: View) -> str:
    """Return the label of a score axis."""
    return f"validation {view.sweep.metric}{' x 100' if view.higher_is_better else ''}"

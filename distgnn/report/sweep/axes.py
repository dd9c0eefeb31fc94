"""Figures of a sweep over its parameters: importance, one slice each, all of them side by side, and a grid of two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from distgnn.report.sweep import texts
from distgnn.report.sweep.data import View
from distgnn.report.sweep.importance import Importance
from distgnn.report.sweep.lines import label
from distgnn.report.sweep.numbers import leader, scored
from distgnn.report.sweep.places import Places
from distgnn.report.sweep.style import DEFAULT, EARLY, FINISHED, SHADES, STAR, STOPPED, sheet, tidy
from distgnn.search.domains import Value
from distgnn.search.records import TrialRecord

_COLUMNS = 3


def bars(view: View, found: Importance | None) -> Figure | None:
    """A bar a parameter, the most important on top; None where nothing can be said."""
    if found is None:
        return None
    names = list(found.shares)[::-1]
    short = texts.short(view)
    figure, axes = sheet(height=0.9 + 0.42 * len(names))
    drawn = axes.barh(
        [short[name] for name in names], [100 * found.shares[name] for name in names], color=FINISHED, height=0.6
    )
    axes.bar_label(drawn, fmt="%.0f %%", padding=4, fontsize="small")
    axes.set(xlabel=f"share of the explained variance, % ({found.trials} trials, {found.fidelity} {view.sweep.axis})")
    axes.margins(x=0.12)
    return figure


def slices(view: View) -> Figure | None:
    """A panel a parameter: the score against it; None before any trial has a score."""
    trials = _comparable(view)
    if not trials or not view.space:
        return None
    columns = min(_COLUMNS, len(view.space))
    lines = -(-len(view.space) // columns)
    figure = Figure(figsize=(1 + 3.3 * columns, 0.4 + 2.9 * lines), layout="constrained")
    panels = np.ravel(figure.subplots(lines, columns, sharey=True, squeeze=False))
    for axes, name in zip(panels, view.space, strict=False):
        _slice(axes, view, trials, name)
    for axes in panels[len(view.space) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel(label(view))
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize="small")
    return figure


def _comparable(view: View) -> list[TrialRecord]:
    """Trials that have ended with a score and set the whole space."""
    ended = [*scored(view), *(trial for trial in view.of("stopped") if trial.rungs)]
    return [trial for trial in ended if all(name in trial.params for name in view.space)]


def _slice(axes: Axes, view: View, trials: list[TrialRecord], name: str) -> None:
    places, factor, best = Places(view.space[name]), texts.scale(view)[0], leader(view)
    for state, look in (("stopped", EARLY), ("finished", {"s": 34, "color": FINISHED, "alpha": 0.8, "zorder": 4})):
        these = [trial for trial in trials if trial.state == state]
        x = places.of([trial.params[name] for trial in these]) + _aside(places, these)
        if these:
            axes.scatter(x, [factor * (trial.score or 0.0) for trial in these], **look, label=_SAID[state])
    if best in trials and best is not None:
        spot = places.of([best.params[name]]) + _aside(places, [best])
        axes.scatter(spot, [factor * (best.score or 0.0)], **STAR, label="best")
    if name in view.default and _inside(places, view.default[name]):
        usual = places.of([view.default[name]])[0]
        axes.axvline(usual, color=DEFAULT, linestyle="--", linewidth=1, alpha=0.6, label="default")
    ticks = places.ticks()
    axes.set_xticks([place for place, _ in ticks], [text for _, text in ticks])
    axes.set(xlim=(-0.05, 1.05), xlabel=texts.short(view)[name])
    tidy(axes)


_SAID = {"finished": "finished", "stopped": "stopped early, last score"}


def _inside(places: Places, value: Value) -> bool:
    """Whether the figure reaches as far as ``value``."""
    if places.choices:
        return value in places.choices
    return not isinstance(value, str) and bool(-0.01 <= places.of([value])[0] <= 1.01)


def _aside(places: Places, trials: list[TrialRecord]) -> np.ndarray:
    """A small step to the side by trial number, so that equal choices do not hide each other."""
    golden = np.array([trial.number * 0.618034 % 1 for trial in trials])
    return (golden - 0.5) * 0.5 / len(places.choices) if places.choices else np.zeros(len(trials))


def parallel(view: View) -> Figure | None:
    """A line a trial through an axis for each parameter to its score, the best in the lightest shade and on top."""
    trials, factor = _comparable(view), texts.scale(view)[0]
    if not trials or not view.space:
        return None
    names, short = list(view.space), texts.short(view)
    all_places = {name: Places(view.space[name]) for name in names}
    columns = [
        places.of([t.params[name] for t in trials]) + _aside(places, trials) for name, places in all_places.items()
    ]
    values = np.array([factor * (trial.score or 0.0) for trial in trials])
    ends = Normalize(*_span(values))
    whole = [value for value, trial in zip(values, trials, strict=True) if trial.state == "finished"]
    heights = np.stack([*columns, np.asarray(ends(values))], axis=1)
    figure, axes = sheet(max(6.5, 1.7 * len(names) + 2.2), 4.4)
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    shade = ScalarMappable(Normalize(*_span(whole or values)), SHADES)
    axes.add_collection(_strands(view, trials, heights, values, shade))
    for spot, name in enumerate(names):
        _post(axes, spot, all_places[name].ticks())
    _post(axes, len(names), [(at, f"{ends.inverse(at):.{texts.scale(view)[1]}f}") for at in np.linspace(0, 1, 5)])
    axes.set_xticks(
        range(len(names) + 1), [*(_broken(short[name]) for name in names), label(view).replace(" ", "\n", 1)]
    )
    axes.tick_params(axis="x", length=0, pad=8)
    axes.set(xlim=(-0.35, len(names) + 0.3), ylim=(-0.04, 1.04), yticks=[])
    figure.colorbar(shade, ax=axes, pad=0.01, label=f"{label(view)}, finished trials")
    return figure


def _span(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """(least, most), never equal."""
    low, high = float(np.min(values)), float(np.max(values))
    return low, high if high > low else low + 1


def _strands(
    view: View, trials: list[TrialRecord], heights: np.ndarray, values: np.ndarray, shade: ScalarMappable
) -> LineCollection:
    """The trials' lines, the best last; those stopped early are grey and thin."""
    order = sorted(range(len(trials)), key=lambda n: (trials[n].state == "finished", view.sign * values[n]))
    best = leader(view)
    spots = np.arange(heights.shape[1])
    whole = [trials[n].state == "finished" for n in order]
    colors = [shade.to_rgba(values[n], alpha=0.85) if w else STOPPED for n, w in zip(order, whole, strict=True)]
    widths = [3.2 if trials[n] is best else 1.6 if w else 0.8 for n, w in zip(order, whole, strict=True)]
    styles = ["-" if w else ":" for w in whole]
    return LineCollection(
        [np.column_stack([spots, heights[n]]) for n in order], colors=colors, linewidths=widths, linestyles=styles
    )


def _post(axes: Axes, spot: int, ticks: list[tuple[float, str]]) -> None:
    """An upright axis at ``spot`` with its texts."""
    axes.axvline(spot, color="#444444", linewidth=1)
    for place, text in ticks:
        axes.plot([spot - 0.02, spot], [place, place], color="#444444", linewidth=1)
        box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
        axes.text(spot - 0.04, place, text, ha="right", va="center", fontsize="x-small", bbox=box, zorder=6)


def _broken(name: str) -> str:
    """A dotted name over several lines."""
    return name.replace(".", ".\n")

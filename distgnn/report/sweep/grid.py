"""A sweep of two parameters with few values each as a map of scores (as Fig. 3(b) of L2P-GNN: node steps by graph steps)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from distgnn.report.sweep import texts
from distgnn.report.sweep.data import View, few_points
from distgnn.report.sweep.lines import label
from distgnn.report.sweep.numbers import leader, scored
from distgnn.report.sweep.style import BEST, DEFAULT, SHADES, sheet
from distgnn.search.domains import Value


def heat(view: View) -> Figure | None:
    """Mean score of the finished trials of each pair of values; None where the space is no such grid or none has finished."""
    if len(view.space) != 2 or not all(map(few_points, view.space.values())) or not scored(view):
        return None
    (down, across), (first, second) = view.space, map(few_points, view.space.values())
    means = cells(view, down, across)
    factor, decimals = texts.scale(view)
    figure, axes = sheet(2.6 + 0.85 * len(second), 1.7 + 0.62 * len(first))
    axes.grid(visible=False)
    drawn = axes.imshow(np.ma.masked_invalid(factor * means), cmap=SHADES, origin="lower", aspect="auto")
    axes.set_facecolor("#eeeeee")
    middle = np.nanmean([drawn.norm.vmin, drawn.norm.vmax])  # pyright: ignore[reportArgumentType, reportCallIssue]
    for (row, column), mean in np.ndenumerate(factor * means):
        text = f"{mean:.{decimals}f}" if np.isfinite(mean) else "-"
        axes.text(column, row, text, ha="center", va="center", color="black" if not mean < middle else "white")
    axes.set_xticks(range(len(second)), map(texts.setting, second))
    axes.set_yticks(range(len(first)), map(texts.setting, first))
    axes.set(xlabel=texts.short(view)[across], ylabel=texts.short(view)[down])
    best = leader(view)
    if best is not None:
        _frame(axes, first, second, (best.params.get(down), best.params.get(across)), BEST, "-")
    _frame(axes, first, second, (view.default.get(down), view.default.get(across)), DEFAULT, "--")
    figure.colorbar(drawn, ax=axes, label=label(view))
    return figure


def cells(view: View, down: str, across: str) -> np.ndarray:
    """float [values of ``down``, values of ``across``]: mean score of the finished trials there, NaN where there are none."""
    rows, columns = few_points(view.space[down]), few_points(view.space[across])
    found: dict[tuple[Value, Value], list[float]] = {}
    for trial in scored(view):
        if trial.score is not None and {down, across} <= set(trial.params):
            found.setdefault((trial.params[down], trial.params[across]), []).append(trial.score)
    return np.array([[np.mean(found[row, col]) if (row, col) in found else np.nan for col in columns] for row in rows])


def _frame(
    axes: Axes,
    first: tuple[Value, ...],
    second: tuple[Value, ...],
    spot: tuple[Value | None, Value | None],
    color: str,
    line: str,
) -> None:
    """A frame around one cell, where it is in the grid."""
    if spot[0] in first and spot[1] in second:
        corner = second.index(spot[1]) - 0.47, first.index(spot[0]) - 0.46
        axes.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, edgecolor=color, linewidth=2.5, linestyle=line))

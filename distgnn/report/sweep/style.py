"""One look for all figures of a sweep: colours that colour-blind people tell apart (Okabe & Ito), and what a mark means."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

FINISHED, STOPPED, FRONT, BEST, DEFAULT = "#0072B2", "#8C8C8C", "#D55E00", "#E69F00", "#000000"
SHADES = "viridis"
STAR = {"marker": "*", "s": 210, "color": BEST, "edgecolors": "black", "linewidths": 0.8, "zorder": 5}
"""The winner, or the best trial so far."""
EARLY = {"marker": "x", "s": 34, "color": STOPPED, "linewidths": 1.3, "zorder": 3}
"""The last score of a trial that was stopped early."""

CLONE = {"marker": "D", "s": 30, "facecolors": "none", "edgecolors": FRONT, "linewidths": 1.2, "zorder": 4}
"""The first score of a trial with weights that it took from another one."""


def sheet(width: float = 7.2, height: float = 4.2) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, of so many inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    return figure, axes


def tidy(axes: Axes) -> None:
    """A faint grid, no box."""
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)

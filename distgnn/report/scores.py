"""Figure of a comparison: scores of all rows over seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from distgnn.auxiliary.comparison import Comparison, Row
from distgnn.report.table import TITLES, scale


def score_figure(result: Comparison[Any]) -> Figure:
    """Figure with one panel per part: a tick for each seed, mean and sample standard deviation as an error bar.

    Rows that differ significantly from their control are marked with an asterisk.
    """
    figure = Figure(figsize=(4.5 * len(result.parts) + 1.5, 1.2 + 0.45 * len(result.rows)), layout="constrained")
    factor = scale(result.metric)[0]
    panels = np.ravel(figure.subplots(1, len(result.parts), sharey=True))
    for axes, part in zip(panels, result.parts, strict=True):
        contrasts = result.contrasts(part)
        for place, row in enumerate(result.rows):
            values = factor * result.values(row, part)
            spread = values.std(ddof=1) if len(values) > 1 else 0.0
            axes.errorbar(values.mean(), place, xerr=spread, fmt="o", color=f"C{place % 10}", capsize=4)
            axes.plot(values, np.full(len(values), place), "|", color=f"C{place % 10}", alpha=0.6, markersize=9)
        names = [
            _label(row, result) + ("*" if (c := contrasts.get(row)) and c.significant else "") for row in result.rows
        ]
        axes.set_yticks(range(len(result.rows)), names)
        axes.set(xlabel=TITLES.get(result.metric, f"{result.metric} x {factor:g}"), title=part)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_ylim(len(result.rows) - 0.5, -0.5)  # the first row on top
    return figure


def _label(row: Row, result: Comparison[Any]) -> str:
    """Name of a row: its method, with encoder and scheme if these vary."""
    others = [name for name in ("encoder", "scheme") if len({getattr(other, name) for other in result.rows}) > 1]
    return ", ".join([row.method, *(getattr(row, name) for name in others)])

"""Charts of reports: each is drawn from one data frame, by matplotlib as a picture and by Vega-Lite as an interactive chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distgnn.report.page import Chart
from distgnn.report.png import png

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_MAX_POINTS = 500
"""Points of a line; longer ones are thinned evenly."""
_WIDTH, _HEIGHT = 460, 260
_LEGEND_LINES = 20
"""Lines of a chart with a legend."""


class Titles(NamedTuple):
    """Texts of a chart: its title and caption, and the titles of its axes."""

    title: str
    caption: str
    x: str
    y: str


def line_chart(table: pd.DataFrame, titles: Titles, band: bool = False, points: bool = False) -> Chart:
    """Draw lines.

    Args:
        table: Columns ``x``, ``y`` and ``line`` (its name); with ``band`` also ``low`` and ``high``.
        titles: Texts of the chart.
        band: Whether to shade from low to high.
        points: Whether to mark the points.
    """
    kept = pd.concat([_thinned(part) for _, part in table.groupby("line", sort=False)])
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for place, (name, part) in enumerate(kept.groupby("line", sort=False)):
        style = "o-" if points or len(part) == 1 else "-"
        axes.plot(part["x"], part["y"], style, markersize=4, color=f"C{place % 10}", label=str(name))
        if band:
            axes.fill_between(part["x"], part["low"], part["high"], color=f"C{place % 10}", alpha=0.15, linewidth=0)
    _finish(axes, titles)
    axes.legend(fontsize="small")
    return Chart(titles.title, titles.caption, png(figure), line_spec(kept, titles, band, points))


def line_spec(table: pd.DataFrame, titles: Titles, band: bool = False, points: bool = False) -> dict[str, Any]:
    """Return the Vega-Lite specification of :func:`line_chart`; long lines are thinned."""
    table = pd.concat([_thinned(part) for _, part in table.groupby("line", sort=False)])
    order = [str(name) for name in dict.fromkeys(table["line"])]
    colour: dict[str, Any] = {"field": "line", "type": "nominal", "title": None, "sort": order}
    x = {"field": "x", "type": "quantitative", "title": titles.x, "axis": _steps(table)}
    y = {"field": "y", "type": "quantitative", "title": titles.y, "scale": {"zero": False}}
    shown = [{"field": name, "type": "quantitative", "format": ".4~g"} for name in ("x", "y")]
    tooltip = [{"field": "line", "type": "nominal"}, *shown]
    pick: dict[str, Any] = {"name": "pick", "select": {"type": "point", "fields": ["line"]}}
    if len(order) > _LEGEND_LINES:  # a line is picked by a click on it
        colour["legend"] = None
    else:
        pick["bind"] = "legend"
    zoom: dict[str, Any] = {"name": "zoom", "select": "interval", "bind": "scales"}
    faded = {"condition": {"param": "pick", "value": 1}, "value": 0.12}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "line", "point": points, "tooltip": True},
            "params": [pick, zoom],
            "encoding": {"x": x, "y": y, "color": colour, "opacity": faded, "tooltip": tooltip},
        }
    ]
    alone = [str(name) for name, part in table.groupby("line", sort=False) if len(part) == 1]
    if alone and not points:  # a line of one point is invisible
        encoding = {"x": x, "y": y, "color": colour, "opacity": faded, "tooltip": tooltip}
        chosen = [{"filter": {"field": "line", "oneOf": alone}}]
        layers.append({"mark": {"type": "point", "filled": True}, "transform": chosen, "encoding": encoding})
    if band:
        edges = {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}}
        layers.insert(0, {"mark": {"type": "area", "opacity": 0.15}, "encoding": {"x": x, "color": colour, **edges}})
    return _spec(table, {"layer": layers, "width": _WIDTH, "height": _HEIGHT})


def _steps(table: pd.DataFrame) -> dict[str, Any]:
    """Axis of the column ``x``; its ticks are whole numbers if the values are."""
    return {"tickMinStep": 1, "format": "~s"} if table["x"].dtype.kind in "iu" else {}


def progress_spec(table: pd.DataFrame, titles: Titles) -> dict[str, Any]:
    """Return the Vega-Lite specification of scores in order (columns ``x`` and ``y``) with the best so far (``best``) as a line."""
    x = {"field": "x", "type": "quantitative", "title": titles.x, "axis": _steps(table)}
    axis = {"type": "quantitative", "title": titles.y, "scale": {"zero": False}}
    shown = [{"field": name, "type": "quantitative", "format": ".4~g"} for name in ("x", "y", "best")]
    points = {"x": x, "y": {"field": "y", **axis}, "tooltip": shown}
    line = {"x": x, "y": {"field": "best", **axis}}
    layers = [
        {"mark": {"type": "line", "interpolate": "step-after", "color": "#d62728"}, "encoding": line},
        {"mark": {"type": "point", "filled": True, "size": 50}, "encoding": points},
    ]
    return _spec(table, {"layer": layers, "width": _WIDTH, "height": _HEIGHT})


def interval_chart(table: pd.DataFrame, titles: Titles, reference: float | None = None) -> Chart:
    """Draw means with intervals, one row each.

    Args:
        table: Columns ``name``, ``value``, ``low`` and ``high`` (NaN = no interval), in the order of the rows.
        titles: Texts of the chart.
        reference: Draw a vertical line at this value.
    """
    figure = Figure(figsize=(6.4, 0.9 + 0.32 * len(table)), layout="constrained")
    axes = figure.subplots()
    value = table["value"].to_numpy(float)
    below, above = (np.nan_to_num(np.abs(table[limit].to_numpy(float) - value)) for limit in ("low", "high"))
    axes.errorbar(value, np.arange(len(table)), xerr=[below, above], fmt="o", color="C0", capsize=3)
    axes.set_yticks(range(len(table)), [str(name) for name in table["name"]])
    axes.set_ylim(len(table) - 0.5, -0.5)
    if reference is not None:
        axes.axvline(reference, color="0.4", linewidth=0.8)
    _finish(axes, titles)
    return Chart(titles.title, titles.caption, png(figure), _interval_spec(table, titles, reference))


def _interval_spec(table: pd.DataFrame, titles: Titles, reference: float | None) -> dict[str, Any]:
    y = {"field": "name", "type": "nominal", "title": titles.y or None, "sort": None}
    x = {"field": "value", "type": "quantitative", "title": titles.x, "scale": {"zero": False}}
    shown = [{"field": name, "type": "quantitative", "format": ".4~g"} for name in ("value", "low", "high")]
    tooltip = [{"field": "name", "type": "nominal"}, *shown]
    rule = {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}, "y": y}
    known = bool(table[["low", "high"]].notna().to_numpy().any())
    layers: list[dict[str, Any]] = [{"mark": {"type": "rule"}, "encoding": rule}] if known else []
    layers.append(
        {"mark": {"type": "point", "filled": True, "size": 60}, "encoding": {"x": x, "y": y, "tooltip": tooltip}}
    )
    if reference is not None:
        layers.append(
            {"mark": {"type": "rule", "color": "#888", "aria": False}, "encoding": {"x": {"datum": reference}}}
        )
    return _spec(table, {"layer": layers, "width": _WIDTH, "height": 24 * len(table)})


def bar_chart(names: Sequence[str], values: Sequence[float], titles: Titles) -> Chart:
    """Draw a column for each name."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(names)), values)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    _finish(axes, titles)
    x = {"field": "name", "type": "nominal", "title": titles.x, "sort": None, "axis": {"labelAngle": -45}}
    y = {"field": "value", "type": "quantitative", "title": titles.y}
    encoding = {"x": x, "y": y, "tooltip": [{"field": "name"}, {"field": "value", "format": ",.4~g"}]}
    table = pd.DataFrame({"name": list(names), "value": np.asarray(values, float)})
    spec = _spec(table, {"mark": "bar", "encoding": encoding, "width": _WIDTH, "height": _HEIGHT})
    return Chart(titles.title, titles.caption, png(figure), spec)


def _spec(table: pd.DataFrame, rest: dict[str, Any]) -> dict[str, Any]:
    """Return a specification with its data; numbers that are not finite become null."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return {"$schema": _SCHEMA, "data": {"values": rows}, "autosize": {"type": "pad"}, **rest}


def _thinned(table: pd.DataFrame) -> pd.DataFrame:
    if len(table) <= _MAX_POINTS:
        return table
    return table.iloc[np.unique(np.linspace(0, len(table) - 1, _MAX_POINTS).round().astype(int))]


def _finish(axes: Axes, titles: Titles) -> None:
    axes.set(xlabel=titles.x, ylabel=titles.y, title=titles.title)
    axes.grid(alpha=0.3)

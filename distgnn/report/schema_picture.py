"""Drawing of a schema: tables as boxes, foreign keys as arrows from child to parent."""

from __future__ import annotations

import io
import warnings
from collections import Counter

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from distgnn.errors import RequestError
from distgnn.relational.schema import Schema, Table
from distgnn.storage.folder import open_folder
from distgnn.storage.uri import parent

_FORMATS = ("svg", "png")
_MAX_LINES, _ROUNDS = 12, 30
_WIDTH, _LINE = 2.6, 0.17
_STEP_X, _GAP = 3.1, 0.9
_MOST_SIDE_BY_SIDE = 6


def save_picture(schema: Schema, rows: dict[str, int], uri: str) -> None:
    """Draw a schema to the file ``uri`` (.svg or .png).

    Raises:
        RequestError: The file has another extension, or cannot be written.
    """
    folder, name = parent(uri)
    kind = name.rpartition(".")[2].lower()
    if kind not in _FORMATS:
        raise RequestError(f"{uri}: a picture is written as .svg or .png; choose one of these")
    buffer = io.BytesIO()
    figure = draw(schema, rows)
    with warnings.catch_warnings():  # names in scripts that the font lacks are drawn as boxes
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(buffer, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)
    open_folder(folder).write(name, buffer.getvalue())


def draw(schema: Schema, rows: dict[str, int]) -> Figure:
    """Draw a schema: parents above their children, arrows behind the boxes."""
    places = _places(schema)
    width, height = (
        max(x for x, _ in places.values()) + _STEP_X,
        max(places[t.name][1] + _height(t) for t in schema.tables) + 0.6,
    )
    figure = Figure(figsize=(max(4.0, width), max(3.0, height)), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(-0.2, width)
    axes.set_ylim(0.4 - height, 0.4)
    axes.set_title(
        f"{schema.name}: {len(schema.tables)} tables, {sum(rows.values()):,} rows", fontsize=10, parse_math=False
    )
    boxes = {table.name: _box(axes, table, places[table.name], rows[table.name]) for table in schema.tables}
    count = Counter(key.table for key in schema.foreign_keys)
    drawn = Counter[str]()
    for key in sorted(schema.foreign_keys, key=lambda key: places[key.parent][0]):  # fewer arrows cross
        drawn[key.table] += 1
        (x0, y0, _), (x1, _, low) = boxes[key.table], boxes[key.parent]
        start = x0 + _WIDTH * (drawn[key.table] / (count[key.table] + 1) - 0.5)  # arrows of a table start side by side
        bend = 0.05
        if key.table == key.parent:
            start, x1, y0, low, bend = x0 + _WIDTH / 2, x0 + _WIDTH / 2, low + 0.2, y0 - 0.1, 0.4
        arrow = FancyArrowPatch(
            (start, y0),
            (x1, low),
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=10,
            color="0.45",
            shrinkA=0,
            shrinkB=0,
            zorder=1,
        )
        axes.add_patch(arrow)
        told = {"fontsize": 6, "color": "0.35", "parse_math": False, "zorder": 4}
        if key.table == key.parent:
            axes.text(start + 0.05, (y0 + low) / 2, key.column, va="center", **told)
        else:
            axes.text(start + 0.03, y0 + 0.06, key.column, rotation=35, va="bottom", **told)
    return figure


def _places(schema: Schema) -> dict[str, tuple[float, float]]:
    """Return the left upper corner (x to the right, y downwards) of every table: parents above, siblings near their parents.

    Levels of many tables take several lines. Lines are centred.
    """
    level = {table.name: 0 for table in schema.tables}
    for _ in range(min(len(level), _ROUNDS)):  # cycles end here
        for key in schema.foreign_keys:
            if key.table != key.parent and level[key.table] <= level[key.parent] < len(level):
                level[key.table] = level[key.parent] + 1
    order = {name: float(number) for number, name in enumerate(level)}
    for _ in range(_ROUNDS):
        for name in level:
            near = [order[key.parent] for key in schema.parents(name)] + [
                order[key.table] for key in schema.children(name)
            ]
            order[name] = float(np.mean([order[name], *near])) if near else order[name]
    lines: list[list[str]] = []
    for rank in sorted(set(level.values())):
        names = sorted((name for name in level if level[name] == rank), key=lambda name: order[name])
        parts = -(-len(names) // _MOST_SIDE_BY_SIDE)
        lines += [names[part::parts] for part in range(parts)]
    widest, found, y = max(map(len, lines), default=1), dict[str, tuple[float, float]](), 0.0
    tables = {table.name: table for table in schema.tables}
    for names in lines:
        left = (widest - len(names)) * _STEP_X / 2
        found |= {name: (left + place * _STEP_X, y) for place, name in enumerate(names)}
        y += max(_height(tables[name]) for name in names) + _GAP
    return found


def _shown(table: Table) -> tuple[list[str], int]:
    """Return the lines of a table's columns, and the number of columns that are left out."""
    lines = [f"{_mark(table, column.name)}{column.name}: {column.kind.value}" for column in table.columns[:_MAX_LINES]]
    return lines, len(table.columns) - len(lines)


def _height(table: Table) -> float:
    lines, more = _shown(table)
    return _LINE * (0.75 * (len(lines) + bool(more)) + 2.2)


def _box(axes: Axes, table: Table, place: tuple[float, float], rows: int) -> tuple[float, float, float]:
    """Draw a table; returns the middle of its upper edge, and its lower edge."""
    x, y, height = place[0], -place[1], _height(table)
    lines, more = _shown(table)
    text = "\n".join([*lines, *([f"... {more} more"] if more else [])])
    axes.add_patch(Rectangle((x, y - height), _WIDTH, height, facecolor="#eef3fa", edgecolor="0.3", zorder=2))
    told = {"va": "top", "parse_math": False, "zorder": 3}
    axes.text(x + 0.08, y - 0.05, f"{table.name} ({rows:,})", fontsize=8, weight="bold", **told)
    axes.text(x + 0.08, y - 0.28, text, fontsize=6.5, **told)
    return x + _WIDTH / 2, y, y - height


def _mark(table: Table, column: str) -> str:
    """Return a mark of the primary key and of the time column."""
    return "* " if column == table.key else "@ " if column == table.time else "  "

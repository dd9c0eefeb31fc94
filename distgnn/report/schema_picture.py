"""Drawing of a schema: tables as boxes, foreign keys as arrows from child to parent."""

from __future__ import annotations

import io
import warnings

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
    """Draw a schema: parents above their children."""
    places = _places(schema)
    levels = max((level for level, _ in places.values()), default=0) + 1
    width = max((place for _, place in places.values()), default=0) + 1
    figure = Figure(figsize=(max(4.0, 3.1 * width), max(3.0, 3.0 * levels)), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(-0.2, 3.1 * width)
    axes.set_ylim(-3.0 * levels + 0.4, 0.4)
    axes.set_title(
        f"{schema.name}: {len(schema.tables)} tables, {sum(rows.values()):,} rows", fontsize=10, parse_math=False
    )
    boxes = {table.name: _box(axes, table, places[table.name], rows[table.name]) for table in schema.tables}
    for number, key in enumerate(schema.foreign_keys):
        (x0, y0, _), (x1, _, low) = boxes[key.table], boxes[key.parent]
        bend = 0.15 + 0.07 * (number % 3)
        if key.table == key.parent:
            x0, x1, y0, low, bend = x0 + _WIDTH / 2, x0 + _WIDTH / 2, low + 0.2, y0 - 0.1, 1.2
        arrow = FancyArrowPatch(
            (x0, y0), (x1, low), connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", mutation_scale=10, color="0.35"
        )
        axes.add_patch(arrow)
        axes.text((x0 + x1) / 2, (y0 + low) / 2, key.column, fontsize=6, ha="center", color="0.35", parse_math=False)
    return figure


def _places(schema: Schema) -> dict[str, tuple[int, int]]:
    """Return (level, position) of every table: parents above, siblings near their parents."""
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
    ranks = sorted(set(level.values()))
    rows = {
        number: sorted((n for n in level if level[n] == one), key=lambda n: order[n])
        for number, one in enumerate(ranks)
    }
    return {name: (number, place) for number, names in rows.items() for place, name in enumerate(names)}


def _box(axes: Axes, table: Table, place: tuple[int, int], rows: int) -> tuple[float, float, float]:
    """Draw a table; returns the middle of its upper edge, and its lower edge."""
    x, y = 3.1 * place[1], -3.0 * place[0]
    lines = [f"{_mark(table, column.name)}{column.name}: {column.kind.value}" for column in table.columns[:_MAX_LINES]]
    more = len(table.columns) - len(lines)
    text = "\n".join([*lines, *([f"... {more} more"] if more else [])])
    height = _LINE * (0.75 * (len(lines) + bool(more)) + 2.2)
    axes.add_patch(Rectangle((x, y - height), _WIDTH, height, facecolor="#eef3fa", edgecolor="0.3"))
    axes.text(x + 0.08, y - 0.05, f"{table.name} ({rows:,})", fontsize=8, weight="bold", va="top", parse_math=False)
    axes.text(x + 0.08, y - 0.28, text, fontsize=6.5, va="top", parse_math=False)
    return x + _WIDTH / 2, y, y - height


def _mark(table: Table, column: str) -> str:
    """Return a mark of the primary key and of the time column."""
    return "* " if column == table.key else "@ " if column == table.time else "  "

"""A sweep as one HTML page that needs nothing beside itself: tables that sort at a click, and the figures."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from jinja2 import Environment
from matplotlib.figure import Figure

from distgnn.report.png import png
from distgnn.report.sweep import axes, grid, lines, texts
from distgnn.report.sweep.data import View
from distgnn.report.sweep.importance import Importance
from distgnn.report.sweep.table import tables

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>View {{ name }}</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; }
body { max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: .2rem; } h2 { margin: 2.2rem 0 .4rem; border-bottom: 1px solid #ddd; }
p { max-width: 75em; } .note, figcaption { color: #555; font-size: .9rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid #e4e4e4; vertical-align: top; }
th { cursor: pointer; background: #f5f5f5; overflow-wrap: anywhere; min-width: 3.5rem; }
td { overflow-wrap: anywhere; } tr.failed td { color: #a33c00; } tr.stopped td, tr.queued td { color: #666; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-start; }
</style>
<h1>View {{ name }}</h1>
<p>{{ about }}<br><strong>{{ standing }}</strong></p>
{% for table in tables %}
<h2>{{ table.heading }}</h2>
<p class="note">{{ table.note }}</p>
<div class="scroll"><table>
<thead><tr>{% for title in table.titles %}<th>{{ title }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.body %}
<tr{% if table.heading == "Trials" %} class="{{ row[1] }}"{% endif %}>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% endfor %}
<h2>Figures</h2>
<div class="figures">
{% for shown in figures %}
<figure><img alt="{{ shown.title }}" src="data:image/png;base64,{{ shown.data }}"><figcaption><strong>{{ shown.title }}.</strong>
{{ shown.caption }}</figcaption></figure>
{% endfor %}
</div>
<script>
for (const head of document.querySelectorAll("th")) head.onclick = () => {
  const body = head.closest("table").tBodies[0], column = head.cellIndex, turn = head.dataset.up ? -1 : 1;
  head.dataset.up = turn > 0 ? "1" : "";
  const value = row => row.cells[column].textContent;
  const number = text => text.includes(":") ? text.split(":").reduce((sum, part) => 60 * sum + +part, 0) : parseFloat(text);
  const order = (a, b) => {
    const x = number(value(a)), y = number(value(b));
    if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y) || turn * value(a).localeCompare(value(b));
    return turn * (x - y);
  };
  body.append(...[...body.rows].sort(order));
};
</script>
</html>
"""


class Picture(NamedTuple):
    """A figure of the page: the name of its file, its title, how to read it, and itself."""

    name: str
    title: str
    caption: str
    figure: Figure


def pictures(view: View, found: Importance | None) -> Iterator[Picture]:
    """The figures that there is something to draw for."""
    drawn = {
        "progress": ("The best score so far", "Star: the winner, or the best trial yet.", lines.progress(view)),
        "rungs": ("Scores rung by rung", "A line a trial; grey with a cross: stopped early.", lines.rungs(view)),
        "grid": ("Scores over the grid", _GRID, grid.heat(view)),
        "importance": ("Which parameters matter", _IMPORTANCE, axes.bars(view, found)),
        "slices": ("One parameter at a time", "Equal values are drawn side by side. Dashed: default.", axes.slices(view)),
        "parallel": ("All parameters together", _PARALLEL, axes.parallel(view)),
        "seconds": ("Score and seconds", "Ringed: no other trial is better at no more seconds.", lines.seconds(view)),
    }  # fmt: skip
    for name, (title, caption, figure) in drawn.items():
        if figure is not None:
            yield Picture(name, title, caption, figure)


_GRID = "Mean of the finished trials of a cell. Orange frame: the best trial; dashed frame: default."
_IMPORTANCE = (
    "Shares of what single parameters explain of the scores' variance (fANOVA); what only acts together is left out."
)
_PARALLEL = "A line a trial, from its settings to its score; dotted grey: stopped early; the thick one: the best."


def page(view: View, found: Importance | None, images: Mapping[Picture, bytes]) -> str:
    """The page; every text in it is escaped."""
    shown = [
        {"title": picture.title, "caption": picture.caption, "data": base64.b64encode(data).decode()}
        for picture, data in images.items()
    ]
    template = Environment(autoescape=True, trim_blocks=True).from_string(_PAGE)
    return template.render(
        name=view.name,
        about=texts.about(view),
        standing=texts.standing(view),
        tables=list(tables(view, found)),
        figures=shown,
    )


def draw(view: View, found: Importance | None) -> dict[Picture, bytes]:
    """PNG of every picture."""
    return {picture: png(picture.figure) for picture in pictures(view, found)}

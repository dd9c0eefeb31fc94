"""The report of a sweep: sweep.md, sweep.html (one self-contained file) and, at the end of the sweep, pictures/."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Callable, Iterable, Sequence

from jinja2 import Environment

from distgnn.errors import printable
from distgnn.report.curves import PICTURES
from distgnn.report.sweep import texts
from distgnn.report.sweep.data import View, view_of
from distgnn.report.sweep.figures import Picture, pictures
from distgnn.report.sweep.study import Importance, importance
from distgnn.report.sweep.table import markdown, tables
from distgnn.search.records import Sweep, TrialRecord
from distgnn.storage.folder import Folder

MARKDOWN, PAGE = "sweep.md", "sweep.html"
_INTERVAL_SECONDS = 30.0
_MAX_SHARE = 0.05
"""Maximum share of a running sweep's time that is spent on pages."""
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sweep {{ name }}</title>
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
<h1>Sweep {{ name }}</h1>
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


def page(view: View, found: Importance | None, shown: Sequence[Picture]) -> str:
    """Return the page as HTML. All texts are escaped, and the page loads no other files.

    Args:
        view: The sweep.
        found: Parameter importances, if there are any.
        shown: The figures.
    """
    figures = [
        {"title": picture.title, "caption": picture.caption, "data": base64.b64encode(picture.data).decode()}
        for picture in shown
    ]
    template = Environment(autoescape=True, trim_blocks=True).from_string(_PAGE)
    return template.render(
        name=view.name,
        about=texts.about(view),
        standing=texts.standing(view),
        tables=list(tables(view, found)),
        figures=figures,
    )


def write_sweep_report(folder: Folder, sweep: Sweep | None = None, trials: Iterable[TrialRecord] | None = None) -> None:
    """Write sweep.md, sweep.html and pictures/NAME.png of the sweep in ``folder``.

    Args:
        folder: Folder of the sweep.
        sweep: Its sweep.json if already read.
        trials: Its trial records if already read.

    Raises:
        RequestError: There is no sweep, or a file of it is damaged.
    """
    for picture in _write(folder, view_of(folder, sweep, trials)):
        folder.sub(PICTURES).write(f"{picture.name}.png", picture.data)


class Pages:
    """Rewrites sweep.md and sweep.html periodically while a sweep runs.

    Args:
        folder: Folder of the sweep.
        clock: Returns the time in seconds.
    """

    def __init__(self, folder: Folder, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._next = clock() + _INTERVAL_SECONDS

    def refresh(self, sweep: Sweep, trials: Iterable[TrialRecord]) -> None:
        """Rewrite the page every 30 seconds, or less often if drawing takes long.

        A page that cannot be drawn is reported on stderr and does not stop the sweep.
        """
        begin = self._clock()
        if begin < self._next:
            return
        try:
            _write(self._folder, view_of(self._folder, sweep, trials))
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = printable(f"{type(error).__name__}: {error}")
            sys.stderr.write(f"distgnn: the page of the sweep could not be drawn ({reason})\n")
        end = self._clock()
        self._next = end + max(_INTERVAL_SECONDS, (end - begin) / _MAX_SHARE)


def _write(folder: Folder, view: View) -> list[Picture]:
    found, shown = importance(view), pictures(view)
    folder.write(MARKDOWN, printable(markdown(view, found)).encode())
    folder.write(PAGE, printable(page(view, found, shown)).encode())
    return shown

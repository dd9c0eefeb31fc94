"""HTML pages of reports: one self-contained file with sortable tables, and charts that are interactive where scripts run."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment
from markupsafe import Markup

from distgnn.errors import printable


class Table(NamedTuple):
    """A table.

    Attributes:
        heading: Its heading; may be empty.
        note: Text below it; may be empty.
        titles: Titles of the columns.
        body: The cells of each row.
        states: CSS class of each row ("failed", "stopped", "queued" or ""); empty = none.
    """

    heading: str
    note: str
    titles: list[str]
    body: list[list[str]]
    states: Sequence[str] = ()


class Chart(NamedTuple):
    """A picture.

    Attributes:
        title: Its title.
        caption: What it shows, in words; also the alternative text.
        png: The static picture.
        spec: The same as a Vega-Lite specification with its data; None if there is no interactive form.
    """

    title: str
    caption: str
    png: bytes
    spec: dict[str, Any] | None = None


@dataclass(frozen=True)
class Section:
    """Part of a page.

    Attributes:
        heading: Its heading.
        verdicts: The results in words, one sentence each.
        facts: Values by name.
        tables: The tables.
        charts: The charts.
        details: Text that is folded away, such as the config.
        details_title: Its title.
        charts_first: Whether the charts come before the tables, which are long.
    """

    heading: str
    verdicts: Sequence[str] = ()
    facts: dict[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    details: str = ""
    details_title: str = "Config"
    charts_first: bool = False


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: Its title.
        about: One line below the title.
        sections: Its parts, in order.
    """

    title: str
    about: str
    sections: Sequence[Section]


def render(page: Page) -> str:
    """Return the page as HTML. All texts are escaped, and the page loads no other files."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_shown)
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    assets = files("distgnn.report") / "assets"
    interactive = any(chart.spec for section in page.sections for chart in section.charts)
    vega = Markup((assets / "vega.min.js").read_text()) if interactive else ""
    template = environment.from_string((assets / "page.html").read_text())
    return template.render(page=page, interactive=interactive, vega=vega)


def _shown(value: Any) -> Any:
    """Make the control characters of a text visible."""
    return printable(value) if type(value) is str else value

"""Tables of a fine-tuning comparison, for the terminal and as Markdown."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from html import escape
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from rich.text import Text

from distgnn.auxiliary.comparison import SIGNIFICANT, Contrast
from distgnn.errors import printable
from distgnn.finetuning.comparison import FinetuneComparison
from distgnn.labels.dataset import LabelledSet
from distgnn.labels.scores import HIGHER_IS_BETTER

TABLE = "table.md"
_PLAIN_WIDTH = 160
_NOTES = f"""Mean ± sample standard deviation over seeds; se: standard error of the mean. vs none: difference to the same encoder
without pre-training. p: two-sided paired t-test over seeds; Holm: corrected over the rows of the table, which decides whether a
difference is significant (p < {SIGNIFICANT}). Coverage: share of labels the metric is defined for."""
TITLES = {"roc_auc": "ROC-AUC x 100", "micro_f1": "micro-F1 x 100", "rmse": "RMSE"}


def scale(metric: str) -> tuple[float, int]:
    """Return (factor, decimals) of printed scores."""
    return (1.0, 3) if metric == "rmse" else (100.0, 2)


def spread(metric: str, values: npt.NDArray[np.float64]) -> str:
    """Format the mean and, for two or more values, the sample standard deviation.

    Shape:
        - values: float64 [seeds]
    """
    return mean_and_sd(metric, float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None)


def mean_and_sd(metric: str, mean: float, sd: float | None) -> str:
    """Format mean and standard deviation; ``sd`` is None for one seed."""
    factor, decimals = scale(metric)
    text = f"{factor * mean:.{decimals}f}"
    return text if sd is None else f"{text} ± {factor * sd:.{decimals}f}"


def gain_word(gain: float) -> str:
    """Return what a gain over a control says, to be followed by the name of the control."""
    return "better than" if gain > 0 else "worse than" if gain < 0 else "level with"


def verdict(contrast: Contrast) -> str:
    """Return the result of the comparison with the control as text."""
    gain = contrast.gain
    word = "better than" if gain > 0 else "worse than" if gain < 0 else "same as"
    unclear = " (not significant)" if contrast.p is not None else " (no test possible)"
    return f"{word} no pre-training{'' if contrast.significant or gain == 0 else unclear}"


def p_value(value: float | None) -> str:
    """Format a p-value; "-" if there is none."""
    return "-" if value is None else f"{value:.3g}"


def _cells(record: Mapping[str, Any], contrast: Contrast | None) -> list[str]:
    """Return the cells of one record of :meth:`Comparison.summary`."""
    factor, decimals = scale(record["metric"])
    cells = [
        mean_and_sd(record["metric"], record["mean"], record["sd"]),
        "-" if record["se"] is None else f"{factor * record['se']:.{decimals}f}",
    ]
    if contrast is None:
        return [*cells, "", "", "", "control"]
    difference = f"{factor * record['difference']:+.{decimals}f}"
    return [*cells, difference, p_value(record["p"]), p_value(record["p_holm"]), verdict(contrast)]


def rows(result: FinetuneComparison) -> tuple[list[str], list[list[str]]]:
    """Return the cells of the table: statistics over seeds for each part, and the paired comparison with the control.

    Returns:
        The column titles, and one row of cells for each method.
    """
    titles = ["method", "seeds"]
    for part in result.parts:
        titles += [part, "se", "vs none", "p", "p (Holm)", f"verdict ({part})"]
    summary = {(record["method"], record["part"]): record for record in result.summary()}
    contrasts = {part: result.contrasts(part) for part in result.parts}
    body = []
    for row in result.rows:
        coverage = min(found.coverage[part] for found in result.of(row) for part in result.parts)
        parts = [_cells(summary[row.method, part], contrasts[part].get(row)) for part in result.parts]
        body.append([row.method, str(len(result.seeds)), *chain.from_iterable(parts), f"{100 * coverage:.0f} %"])
    return [*titles, "coverage"], body


def task_of(data: LabelledSet) -> str:
    """Return the task, and what was inferred about the labels or changed."""
    return f"{data.target.task} ({data.note})" if data.note else data.target.task


def heading(result: FinetuneComparison) -> str:
    """Return one line: corpus, task, labels, metric and its direction, split and part sizes, fine-tuning mode."""
    data, direction = result.data, "higher" if HIGHER_IS_BETTER[result.metric] else "lower"
    sizes = ", ".join(f"{part} {len(graphs)}" for part, graphs in data.parts.items())
    mode = "frozen encoder" if result.config.frozen else "full fine-tuning"
    return (
        f"{result.config.corpus}: {task_of(data)}, {len(data.target.names)} label(s), {TITLES[result.metric]} ({direction} "
        f"is better), {result.config.split.method} split ({sizes}), {mode}"
    )


def terminal(result: FinetuneComparison) -> str:
    """Return the table for standard output."""
    return text_table(heading(result), *rows(result))


def markdown(result: FinetuneComparison) -> str:
    """Return the table as Markdown, with notes."""
    return f"{escape_markdown(heading(result))}\n\n{markdown_table(*rows(result))}\n\n{_NOTES}\n"


def text_table(title: str, titles: list[str], body: list[list[str]]) -> str:
    """Render a table with box characters, as wide as the terminal, or 160 columns if standard output is not a terminal."""
    table = Table()
    for name in titles:
        table.add_column(printable(name))
    for row in body:
        table.add_row(*(Text(printable(cell)) for cell in row))
    tty = sys.stdout.isatty()
    console = Console(width=None if tty else _PLAIN_WIDTH, force_jupyter=False, force_terminal=tty)
    with console.capture() as captured:
        console.print(printable(title), table, sep="\n", markup=False, highlight=False)
    return captured.get().rstrip()


def markdown_table(titles: list[str], body: list[list[str]]) -> str:
    """Render a table as Markdown."""
    lines = [[escape_markdown(cell) for cell in line] for line in (titles, *body)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], ["---"] * len(titles), *lines[1:]))


def escape_markdown(text: str) -> str:
    """Escape ``text`` for one line or cell of Markdown, so that it adds no markup, links, HTML or control characters."""
    line = escape(" ".join(printable(text).split()), quote=False)
    return re.sub(r"([|`\[\]])", r"\\\1", line)

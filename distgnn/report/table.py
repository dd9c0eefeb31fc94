"""The table of a fine-tuning: for a terminal, and as Markdown. A method that loses to its control is said to lose."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from distgnn.finetuning.comparison import Result
from distgnn.labels.scores import HIGHER_IS_BETTER, paired_p_value

TABLE = "table.md"
SIGNIFICANT = 0.05
_PLAIN_WIDTH = 160
_NOTES = """Mean ± sample deviation over seeds. vs none: difference to the same encoder without pre-training, with a two-sided
paired t-test. Coverage: share of labels the metric is defined for."""
TITLES = {"roc_auc": "ROC-AUC x 100", "micro_f1": "micro-F1 x 100", "rmse": "RMSE"}


@dataclass(frozen=True)
class Comparison:
    """A method against its control over the same seeds: mean difference (method minus control), p-value, verdict in words.

    gain: the difference, with the sign that makes better positive. clear: whether the p-value is below SIGNIFICANT.
    """

    difference: float
    gain: float
    clear: bool
    p_value: float | None
    verdict: str


def scores_of(result: Result, method: str, part: str) -> npt.NDArray[np.float64]:
    """The metric of ``method`` on ``part`` for each seed, in seed order."""
    return np.array([run.scores[part].value for run in result.outcomes if run.method == method])


def compare(result: Result, method: str, part: str) -> Comparison | None:
    """``method`` against its control; None for a control."""
    if method not in result.controls:
        return None
    ours, control = scores_of(result, method, part), scores_of(result, result.controls[method], part)
    difference, p_value = float(ours.mean() - control.mean()), paired_p_value(ours, control)
    gain = difference if HIGHER_IS_BETTER[result.metric] else -difference
    clear = p_value is not None and p_value < SIGNIFICANT
    word = "better than" if gain > 0 else "worse than" if gain < 0 else "same as"
    note = "" if clear or gain == 0 else " (not significant)" if p_value is not None else " (no test possible)"
    return Comparison(difference, gain, clear, p_value, f"{word} no pre-training{note}")


class Measured(Protocol):
    """Whatever was measured with one metric."""

    @property
    def metric(self) -> str: ...  # noqa: D102


def scale(result: Measured) -> tuple[float, int]:
    """(factor, decimals) of printed numbers."""
    return (1.0, 3) if result.metric == "rmse" else (100.0, 2)


def spread(result: Measured, values: npt.NDArray[np.float64]) -> str:
    """Mean and, of two or more values, sample deviation."""
    factor, decimals = scale(result)
    text = f"{factor * values.mean():.{decimals}f}"
    return text if len(values) < 2 else f"{text} ± {factor * values.std(ddof=1):.{decimals}f}"


def _cells(result: Result, method: str, part: str) -> list[str]:
    factor, decimals = scale(result)
    found = compare(result, method, part)
    if found is None:
        return [spread(result, scores_of(result, method, part)), "", "", "control"]
    p_value = "-" if found.p_value is None else f"{found.p_value:.3g}"
    difference = f"{factor * found.difference:+.{decimals}f}"
    return [spread(result, scores_of(result, method, part)), difference, p_value, found.verdict]


def rows(result: Result) -> tuple[list[str], list[list[str]]]:
    """(titles, a row of cells for each method): mean and sample deviation over seeds for each part, and the comparison."""
    parts = [part for part in ("test", "ood") if part in result.data.parts]
    titles = ["method", "seeds"]
    for part in parts:
        titles += [part, "vs none", "p (paired)", f"verdict ({part})"]
    titles.append("coverage")
    table = []
    for method in result.methods:
        coverage = [run.scores[part].coverage for run in result.outcomes for part in parts if run.method == method]
        cells = [cell for part in parts for cell in _cells(result, method, part)]
        table.append([method, str(result.config.seeds), *cells, f"{100 * min(coverage):.0f} %"])
    return titles, table


def heading(result: Result) -> str:
    """One line: corpus, task, metric and its direction, labels, split and part sizes."""
    data, direction = result.data, "higher" if HIGHER_IS_BETTER[result.metric] else "lower"
    sizes = ", ".join(f"{part} {len(graphs)}" for part, graphs in data.parts.items())
    mode = "frozen encoder" if result.config.frozen else "full fine-tuning"
    return (
        f"{result.config.corpus}: {data.target.task}, {len(data.target.names)} label(s), {TITLES[result.metric]} ({direction} "
        f"is better), {result.config.split.method} split ({sizes}), {mode}"
    )


def terminal(result: Result) -> str:
    """The table drawn for standard output."""
    return drawn(heading(result), *rows(result))


def markdown(result: Result) -> str:
    """The same table as Markdown text."""
    return f"{heading(result)}\n\n{piped(*rows(result))}\n\n{_NOTES}\n"


def drawn(title: str, titles: list[str], body: list[list[str]]) -> str:
    """A title and a table in boxes: as wide as the terminal, 160 columns where standard output is none."""
    table = Table()
    for name in titles:
        table.add_column(name)
    for row in body:
        table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    with console.capture() as captured:
        console.print(title, table, sep="\n", markup=False, highlight=False)
    return captured.get().rstrip()


def piped(titles: list[str], body: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [titles, ["---"] * len(titles), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)

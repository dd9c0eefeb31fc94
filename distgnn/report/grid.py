"""The table of a grid: objectives down, encoders across, and what each objective gains on average (as Table 2 of L2P-GNN)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from distgnn.finetuning.comparison import CONTROL, Result
from distgnn.finetuning.results import summary
from distgnn.report.table import compare, drawn, heading, piped, scale, scores_of, spread

_NOTES = """Mean ± sample deviation over seeds, beside the same encoder without pre-training (none). ↓ worse than none: negative
transfer. * differs from none, p < 0.05 in a two-sided paired t-test over seeds. Average gain: mean over encoders of the
difference to none; positive is better."""


@dataclass(frozen=True)
class Grid:
    """objectives: rows, without the control. results: by encoder (the columns), its methods named as the objectives.

    refused: why a cell (objective, encoder) is empty; every cell is here or in its encoder's result.
    """

    objectives: tuple[str, ...]
    results: dict[str, Result]
    refused: dict[tuple[str, str], str]

    @property
    def parts(self) -> list[str]:
        """What there is a table for: test, and ood where the split has it."""
        parts = next(iter(self.results.values())).data.parts
        return [part for part in ("test", "ood") if part in parts]


def rows(grid: Grid, part: str) -> tuple[list[str], list[list[str]]]:
    """(titles, a row of cells for the control and each objective) of one part."""
    control = [spread(result, scores_of(result, CONTROL, part)) for result in grid.results.values()]
    body = [[CONTROL, *control, ""]]
    for objective in grid.objectives:
        cells = [_cell(grid, objective, encoder, part) for encoder in grid.results]
        body.append([objective, *cells, _average_gain(grid, objective, part)])
    return ["objective", *grid.results, "average gain"], body


def _cell(grid: Grid, objective: str, encoder: str, part: str) -> str:
    result = grid.results[encoder]
    found = None if (objective, encoder) in grid.refused else compare(result, objective, part)
    if found is None:
        return "-"
    marks = ("*" if found.clear else "") + (" ↓" if found.gain < 0 else "")
    return spread(result, scores_of(result, objective, part)) + marks


def _average_gain(grid: Grid, objective: str, part: str) -> str:
    """Over the encoders that have the cell, whose number is told where it is not all of them."""
    results = [result for encoder, result in grid.results.items() if (objective, encoder) not in grid.refused]
    found = [comparison for result in results if (comparison := compare(result, objective, part))]
    if not found:
        return "-"
    factor, decimals = scale(results[0])
    text = f"{factor * np.mean([comparison.gain for comparison in found]):+.{decimals}f}"
    return text if len(found) == len(grid.results) else f"{text} ({len(found)} of {len(grid.results)})"


def _reasons(grid: Grid) -> Iterator[str]:
    """A line for each reason: what is missing, and why."""
    encoders: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (objective, encoder), reason in grid.refused.items():
        encoders[objective, reason].append(encoder)
    return (f"- {objective} ({', '.join(names)}): {reason}" for (objective, reason), names in encoders.items())


def _titled(grid: Grid) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """(heading, titles, rows) of each part's table."""
    about = heading(next(iter(grid.results.values())))
    return ((f"{about}: {part}", *rows(grid, part)) for part in grid.parts)


def terminal(grid: Grid) -> str:
    """The tables drawn for standard output."""
    return _joined([drawn(*table) for table in _titled(grid)], grid)


def markdown(grid: Grid) -> str:
    """The same tables as Markdown text."""
    return _joined([f"{title}\n\n{piped(titles, body)}" for title, titles, body in _titled(grid)], grid) + "\n"


def _joined(tables: list[str], grid: Grid) -> str:
    return "\n\n".join([*tables, _NOTES, "\n".join(_reasons(grid))]).rstrip()


def grid_summary(grid: Grid) -> dict[str, Any]:
    """The grid as plain JSON values: every cell with its scores by seed, every encoder's fine-tuning, what was refused."""
    return {
        "objectives": [CONTROL, *grid.objectives],
        "encoders": list(grid.results),
        "cells": [cell for part in grid.parts for cell in _cells(grid, part)],
        "refused": [{"objective": cell[0], "encoder": cell[1], "reason": why} for cell, why in grid.refused.items()],
        "finetunes": {encoder: summary(result) for encoder, result in grid.results.items()},
    }


def _cells(grid: Grid, part: str) -> Iterator[dict[str, Any]]:
    for encoder, result in grid.results.items():
        for method in result.methods:
            scores, found = scores_of(result, method, part), compare(result, method, part)
            compared = {"gain": found.gain, "p_value": found.p_value} if found else {}
            cell = {"part": part, "objective": method, "encoder": encoder, "scores": scores.tolist()}
            yield {**cell, "mean": float(scores.mean()), **compared}

"""Table of a grid of pre-training runs: objectives by encoders, with average gains (as Table 2 of L2P-GNN)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from distgnn.auxiliary.comparison import Contrast, Row
from distgnn.config.transfer import CONTROL
from distgnn.finetuning.comparison import FinetuneComparison
from distgnn.finetuning.results import summary
from distgnn.labels.scores import holm
from distgnn.report.auxiliary import marks
from distgnn.report.table import heading, markdown_table, scale, spread, text_table

_NOTES = """Mean ± sample deviation over seeds, beside the same encoder without pre-training (none). ↓ worse than none, by more than
the 95 % interval of a paired t-test over seeds: negative transfer. * differs from none, p < 0.05 in the same test, two-sided,
after Holm's correction over the cells of the table. Average gain: mean over encoders of the difference to none; positive is
better."""


@dataclass(frozen=True)
class Grid:
    """Results of a grid.

    Attributes:
        objectives: Rows of the table, without the control.
        results: Fine-tuning result by encoder (column); its methods are named like the objectives.
        refused: Reason by (objective, encoder) for cells that could not be run. All other cells are in ``results``.
    """

    objectives: tuple[str, ...]
    results: dict[str, FinetuneComparison]
    refused: dict[tuple[str, str], str]

    @property
    def parts(self) -> list[str]:
        """Parts with a table: test, and ood if the split has it."""
        return list(next(iter(self.results.values())).parts)

    def row(self, objective: str, encoder: str) -> Row:
        """The row of a cell in the result of its encoder."""
        return next(row for row in self.results[encoder].rows if row.method == objective)

    def contrasts(self, part: str) -> dict[tuple[str, str], Contrast]:
        """Comparison of each cell (objective, encoder) with its control. Holm's correction covers the whole table."""
        found = {
            (row.method, encoder): contrast
            for encoder, result in self.results.items()
            for row, contrast in result.contrasts(part).items()
            if (row.method, encoder) not in self.refused
        }
        corrected = holm([contrast.p for contrast in found.values()])
        return {cell: c._replace(p_holm=p) for (cell, c), p in zip(found.items(), corrected, strict=True)}


def rows(grid: Grid, part: str) -> tuple[list[str], list[list[str]]]:
    """Cells of the table of one part.

    Returns:
        The column titles, and one row of cells for the control and each objective.
    """
    contrasts = grid.contrasts(part)
    control = [_spread(grid, CONTROL, encoder, part) for encoder in grid.results]
    body = [[CONTROL, *control, ""]]
    for objective in grid.objectives:
        known = {encoder: contrasts[cell] for encoder in grid.results if (cell := (objective, encoder)) in contrasts}
        cells = [
            _spread(grid, objective, encoder, part) + marks(known[encoder]) if encoder in known else "-"
            for encoder in grid.results
        ]
        body.append([objective, *cells, _average_gain(grid, list(known.values()))])
    return ["objective", *grid.results, "average gain"], body


def _spread(grid: Grid, objective: str, encoder: str, part: str) -> str:
    result = grid.results[encoder]
    return spread(result.metric, result.values(grid.row(objective, encoder), part))


def _average_gain(grid: Grid, known: list[Contrast]) -> str:
    """Mean gain over the encoders that have the cell; their number is appended if it is not all."""
    if not known:
        return "-"
    factor, decimals = scale(next(iter(grid.results.values())).metric)
    text = f"{factor * np.mean([contrast.gain for contrast in known]):+.{decimals}f}"
    return text if len(known) == len(grid.results) else f"{text} ({len(known)} of {len(grid.results)})"


def _reasons(grid: Grid) -> Iterator[str]:
    """One line for each reason of missing cells."""
    encoders: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (objective, encoder), reason in grid.refused.items():
        encoders[objective, reason].append(encoder)
    return (f"- {objective} ({', '.join(names)}): {reason}" for (objective, reason), names in encoders.items())


def _tables(grid: Grid) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Return (heading, titles, rows) of each part's table."""
    about = heading(next(iter(grid.results.values())))
    return ((f"{about}: {part}", *rows(grid, part)) for part in grid.parts)


def terminal(grid: Grid) -> str:
    """Tables for standard output."""
    return _joined([text_table(*table) for table in _tables(grid)], grid)


def markdown(grid: Grid) -> str:
    """Tables as Markdown."""
    return _joined([f"{title}\n\n{markdown_table(titles, body)}" for title, titles, body in _tables(grid)], grid) + "\n"


def _joined(tables: list[str], grid: Grid) -> str:
    return "\n\n".join([*tables, _NOTES, "\n".join(_reasons(grid))]).rstrip()


def grid_summary(grid: Grid) -> dict[str, Any]:
    """The grid as JSON values: cells with scores by seed, the fine-tuning result of each encoder, and rejected cells."""
    return {
        "objectives": [CONTROL, *grid.objectives],
        "encoders": list(grid.results),
        "cells": [cell for part in grid.parts for cell in _cells(grid, part)],
        "refused": [{"objective": cell[0], "encoder": cell[1], "reason": why} for cell, why in grid.refused.items()],
        "finetunes": {encoder: summary(result) for encoder, result in grid.results.items()},
    }


def _cells(grid: Grid, part: str) -> Iterator[dict[str, Any]]:
    contrasts = grid.contrasts(part)
    for encoder, result in grid.results.items():
        for row in result.rows:
            values, found = result.values(row, part), contrasts.get((row.method, encoder))
            compared = {"gain": found.gain, "p_value": found.p, "p_holm": found.p_holm} if found else {}
            cell = {"part": part, "objective": row.method, "encoder": encoder, "scores": values.tolist()}
            yield {**cell, "mean": float(values.mean()), **compared}

"""The command ``distgnn runs``."""

from __future__ import annotations

import pandas as pd

from distgnn.api.runs import list_runs
from distgnn.commands.output import Output
from distgnn.options import RunsOptions
from distgnn.report.table import text_table


def runs(options: RunsOptions, output: Output) -> int:
    """Print a table of the runs in a folder."""
    table = list_runs(options.folder)
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    output.emit(
        {"folder": options.folder, "runs": records}, text_table(options.folder, list(table.columns), _cells(table))
    )
    return 0


def _cells(table: pd.DataFrame) -> list[list[str]]:
    return [[_cell(value) for value in row] for row in table.itertuples(index=False)]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:,.0f}" if value == round(value) else f"{value:,.4g}"
    return "" if value is None else str(value)

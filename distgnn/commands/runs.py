"""The command ``distgnn runs``."""

from __future__ import annotations

import sys

import pandas as pd

from distgnn.api.runs import delete_run, list_runs
from distgnn.commands.output import Output
from distgnn.errors import RequestError
from distgnn.options import RunsOptions
from distgnn.report.kinds import kind_of
from distgnn.report.side_by_side import compared
from distgnn.report.table import text_table
from distgnn.storage.folder import absence, open_folder


def runs(options: RunsOptions, output: Output) -> int:
    """Print a table of the runs in a folder, put some side by side, or delete runs."""
    if options.compare and options.delete:
        raise RequestError("--compare and --delete exclude each other; give one")
    if options.compare:
        return _compare(options, output)
    if options.delete:
        return _delete(options, output)
    table = list_runs(options.folder)
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    output.emit(
        {"folder": options.folder, "runs": records}, text_table(options.folder, list(table.columns), _cells(table))
    )
    return 0


def _compare(options: RunsOptions, output: Output) -> int:
    place = open_folder(options.folder)
    for name in options.compare:
        if kind_of(place.sub(name)) is None:
            raise RequestError(f"{place.at(name)}: no finished run here{absence(place.sub(name))}")
    sections = compared([place.at(name) for name in options.compare])
    if not sections:
        raise RequestError(
            "--compare: name two or more pre-training runs, two or more comparisons, or two or more studies"
        )
    found = [(section, section.tables[0]) for section in sections]
    values = [
        {"of": section.heading, "verdicts": list(section.verdicts), "titles": table.titles, "rows": table.body}
        for section, table in found
    ]
    texts = [
        "\n".join([text_table(section.heading, table.titles, table.body), *section.verdicts])
        for section, table in found
    ]
    output.emit({"folder": options.folder, "comparisons": values}, "\n\n".join(texts))
    return 0


def _delete(options: RunsOptions, output: Output) -> int:
    for name in dict.fromkeys(options.delete):
        if not options.yes and not _agreed(f"delete run {name} of {options.folder} with its checkpoints? [y/N] "):
            output.emit({"run": name, "deleted": False}, f"{name} is kept")
            continue
        uri = delete_run(options.folder, name)
        output.emit({"run": name, "folder": uri, "deleted": True}, f"deleted {uri}")
    return 0


def _agreed(question: str) -> bool:
    """Ask on stderr; raises RequestError where nobody can answer."""
    if not sys.stdin.isatty():
        raise RequestError("--delete: asks first, but stdin is not a terminal; add --yes")
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _cells(table: pd.DataFrame) -> list[list[str]]:
    return [[_cell(value) for value in row] for row in table.itertuples(index=False)]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:,.0f}" if value == round(value) else f"{value:,.4g}"
    return "" if value is None else str(value)

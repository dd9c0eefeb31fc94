"""Sections of a report about databases: stores, predictions and evaluations of models."""

from __future__ import annotations

from typing import Any

import pandas as pd

from distgnn.relational.evaluate import ALL, Record, Row, summarise
from distgnn.relational.manifest import read_manifest
from distgnn.report.charts import Titles, bar_chart, line_chart
from distgnn.report.databases import KINDS, REFERENCE
from distgnn.report.page import Chart, Section, Table
from distgnn.report.png import png
from distgnn.report.schema_picture import draw
from distgnn.report.table import gain_word
from distgnn.storage.folder import Folder
from distgnn.storage.records import Name, convert

_SHOWN = 15


def store_section(folder: Folder) -> Section:
    """Describe the store of a database: tables, keys, findings, and a drawing of the schema."""
    manifest = read_manifest(folder)
    facts = {
        "tables": str(len(manifest.schema.tables)),
        "rows": f"{sum(manifest.rows.values()):,}",
        "foreign keys": str(len(manifest.schema.foreign_keys)),
        "source": manifest.source,
        "digest": manifest.key,
    }
    body = [
        [table.name, f"{manifest.rows[table.name]:,}", str(len(table.columns)), table.key or "", table.time or ""]
        for table in manifest.schema.tables
    ]
    tables = [Table("Tables", "", ["table", "rows", "columns", "key", "time"], body)]
    if manifest.findings:
        found = [[finding.line()] for finding in manifest.findings]
        tables.append(Table("Findings", "Counted while the store was built.", ["finding"], found))
    picture = png(draw(manifest.schema, dict(manifest.rows)))
    caption = "Tables as boxes, foreign keys as arrows from child to parent."
    return Section("", facts=facts, tables=tables, charts=[Chart("Schema", caption, picture)])


def prediction_section(values: dict[str, Any], where: str) -> Section:
    """Describe predictions: their score, and the columns that mattered."""
    columns = convert(values["columns"], list[tuple[Name, float]], where, "the columns of predictions")
    score, context, metric = values.get("score"), values.get("context"), values.get("metric")
    metric = f"{metric}; 0.5 = chance" if metric == "auroc" else metric
    known = f"The predictions from {context} labels score {score:.4f} ({metric})." if isinstance(score, float) else ""
    facts = {name: str(values[name]) for name in ("database", "task", "split", "rows") if values.get(name) is not None}
    verdicts = [known] if known else []
    others = convert(values.get("baselines", {}), dict[Name, float], where, "the scores of baselines")
    verdicts += [f"{name}: {other:.4f}." for name, other in others.items()]
    shown = columns[:_SHOWN]
    titles = Titles(
        "Columns that mattered", "Mean change of a prediction when the column is hidden.", "column", "change"
    )
    charts = [bar_chart([name for name, _ in shown], [change for _, change in shown], titles)] if shown else []
    body = [[name, f"{change:.4g}"] for name, change in columns]
    return Section("", verdicts, facts, tables=[Table("Columns", "", ["column", "mean change"], body)], charts=charts)


def _verdict(title: str, row: Row, sign: int) -> str:
    gain = sign * (row.difference or 0.0)
    return (
        f"{title}, {row.labels} labels: {row.method} is {gain_word(gain)} {REFERENCE} by {abs(gain):.4f}{_test(row)}."
    )


def _test(row: Row) -> str:
    """The standard error and the test of a difference; none is possible over one task."""
    return f"; {row.tasks} task(s), no test" if None in (row.error, row.p) else f" ± {row.error:.4f}, p = {row.p:.3g}"


def evaluation_section(values: dict[str, Any], where: str) -> Section:
    """Describe an evaluation of models of databases: means over tasks by method and number of labels."""
    records = convert(values["records"], list[Record], where, "the scores of databases")
    tables, charts, verdicts = [], [], []
    for kind, _, title in KINDS:
        rows = summarise(records, kind=kind, reference=REFERENCE)
        if not rows:
            continue
        titles = ["labels", "method", "tasks", "mean", f"minus {REFERENCE}", "standard error", "p"]
        body = [
            ["all" if row.labels == ALL else str(row.labels), row.method, str(row.tasks), f"{row.mean:.4f}",
             *("" if value is None else f"{value:.4g}" for value in (row.difference, row.error, row.p))]
            for row in rows
        ]  # fmt: skip
        tables.append(Table(title, "Differences are paired over tasks.", titles, body))
        verdicts += [
            _verdict(title, row, -1 if kind == "regression" else 1)
            for row in rows
            if row.method.startswith("pre-trained") and row.difference is not None
        ]
        drawn = [row for row in rows if row.labels != ALL]
        if len({row.labels for row in drawn}) > 1:
            points = pd.DataFrame({"x": [row.labels for row in drawn], "y": [row.mean for row in drawn]})
            told = Titles(title, "Mean over tasks by number of labels.", "labels", title)
            charts.append(line_chart(points.assign(line=[row.method for row in drawn]), told, points=True))
    if left_out := convert(values.get("left_out", {}), dict[Name, str], where, "the tasks left out"):
        tables.append(
            Table("Left out", "Tasks that do not enter the means.", ["task", "why"], [*map(list, left_out.items())])
        )
    return Section("", verdicts, tables=tables, charts=charts)

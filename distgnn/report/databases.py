"""Tables and figure of an evaluation of models of databases."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from distgnn.relational.evaluate import ALL, BOOSTING, Record, Row, summarise
from distgnn.relational.tasks import Labels

REFERENCE = "forest + linear"
KINDS: tuple[tuple[Labels, str, str], ...] = (
    ("binary", "classification", "Classification, mean AUROC"),
    ("multiclass", "several classes", "Several classes, mean accuracy"),
    ("regression", "regression", "Regression, mean absolute error / that of the median"),
)
"""Kinds of labels, their names in tables, and their titles."""


def markdown(records: list[Record]) -> str:
    """Tables of means over tasks, with differences to :data:`REFERENCE` at as many labels, then the scores of each task."""
    parts = []
    for kind, _, title in KINDS:
        chosen = [record for record in records if record.kind == kind]
        if not chosen:
            continue
        rows = summarise(records, kind=kind, reference=REFERENCE)
        parts += [f"## {title} ({len({record.task for record in chosen})} tasks)\n", _summary(rows), _by_task(chosen)]
    return "\n".join(parts)


def _summary(rows: list[Row]) -> str:
    lines = [
        f"| labels | method | mean | minus {REFERENCE} (all labels: {BOOSTING}) | p (paired over tasks) |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        gap = "" if row.difference is None else f"{row.difference:+.4f}"
        gap += "" if row.error is None else f" ± {row.error:.4f}"
        p = "" if row.p is None else f"{row.p:.3g}"
        lines.append(f"| {_labels(row.labels)} | {row.method} | {row.mean:.4f} | {gap} | {p} |")
    return "\n".join(lines) + "\n"


def _by_task(records: list[Record]) -> str:
    columns = list(dict.fromkeys((record.method, record.labels) for record in records))
    scores: dict[str, dict[tuple[str, int], list[float]]] = {}
    for record in records:
        scores.setdefault(record.task, {}).setdefault((record.method, record.labels), []).append(record.score)
    lines = [
        "| task | " + " | ".join(f"{method}, {_labels(labels)}" for method, labels in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for task, found in scores.items():
        cells = (f"{np.mean(found[column]):.3f}" if column in found else "" for column in columns)
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _labels(labels: int) -> str:
    return "all" if labels == ALL else str(labels)


def summary(records: list[Record]) -> list[dict[str, Any]]:
    """Rows of the tables of means: labels, method, mean over tasks, and the difference to the reference with its test."""
    return [
        {"kind": name, **asdict(row)}
        for kind, name, _ in KINDS
        for row in summarise(records, kind=kind, reference=REFERENCE)
    ]


def figure(records: list[Record]) -> Figure:
    """Draw the mean score of each method against the number of context labels."""
    kinds = [kind for kind in KINDS if any(record.kind == kind[0] for record in records)]
    picture = Figure(figsize=(6.4 * len(kinds), 4.8), layout="constrained")
    for place, (kind, _, title) in enumerate(kinds):
        axes = picture.add_subplot(1, len(kinds), place + 1)
        curves: dict[str, list[tuple[int, float]]] = {}
        for row in summarise(records, kind=kind, reference=REFERENCE):
            if row.labels != ALL:
                curves.setdefault(row.method, []).append((row.labels, row.mean))
            elif row.method != "constant":
                axes.axhline(row.mean, color="0.7", linewidth=0.8)
                axes.annotate(f"{row.method}, all labels", (0, row.mean), fontsize=6, va="bottom")
        for method, points in curves.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=method)
        axes.set_xscale("symlog", linthresh=16)
        axes.set(xlabel="context labels", title=title)
        axes.legend(fontsize=7)
    return picture

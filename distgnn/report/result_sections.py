"""Sections of a report about studies, analyses and evaluations of models: results in words, tables and charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from distgnn.auxiliary.comparison import SIGNIFICANT
from distgnn.finetuning.analysis import CKA, TRAIN_LOSS
from distgnn.labels.scores import HIGHER_IS_BETTER
from distgnn.report.charts import Titles, interval_chart, line_chart
from distgnn.report.page import Chart
from distgnn.report.table import TITLES, gain_word, p_value, scale, spread
from distgnn.storage.records import Count, Name

_MOST_VERDICTS = 12


@dataclass(frozen=True)
class StudyRecord:
    """One record of study.json: a comparison at a number of labels and updates, pooled over the sets."""

    method: Name
    reference: Name
    labels: int | Name | None = None
    updates: int | None = None
    sets: int | None = None
    sets_pooled: int | None = None
    better: int | None = None
    worse: int | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_holm: float | None = None

    @property
    def place(self) -> str:
        """Where it was measured, such as "100 labels, 30 updates"."""
        parts = [f"{value} {name}" for name in ("labels", "updates") if (value := getattr(self, name)) is not None]
        return ", ".join(parts)

    @property
    def known(self) -> bool:
        """Whether there is a pooled difference."""
        return self.difference is not None and math.isfinite(self.difference)


@dataclass(frozen=True)
class MeasureRecord:
    """One record of an analysis: a measure of a method after a number of updates."""

    method: Name
    measure: Name
    labels: int | Name
    updates: int
    mean: float
    mean_low: float | None = None
    mean_high: float | None = None
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    control: Name | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None


@dataclass(frozen=True)
class PartScore:
    """A score of a model on a part of the corpus."""

    value: float
    coverage: float | None = None


@dataclass(frozen=True)
class ModelRecord:
    """One record of an evaluation: a fine-tuned model and its scores by part."""

    model: Name
    method: Name
    seed: Count
    scores: dict[Name, PartScore]


def study_verdicts(records: Sequence[StudyRecord]) -> list[str]:
    """Say which method is better than its reference, pooled over the sets; at most a dozen, the significant ones first."""
    known = [one for one in records if one.known]
    ranked = sorted(known, key=lambda one: not _is_significant(one))
    found = [_study_verdict(one) for one in ranked[:_MOST_VERDICTS]]
    rest = len(known) - len(found)
    return found + ([f"{rest} more comparisons are in the table."] if rest else [])


def _is_significant(one: StudyRecord) -> bool:
    return one.p_holm is not None and one.p_holm < SIGNIFICANT


def _study_verdict(one: StudyRecord) -> str:
    gain = 100 * (one.difference or 0.0)
    text = f"{one.method} is {gain_word(gain)} {one.reference} by {abs(gain):.2f} points of AUC"
    if one.low is not None and one.high is not None:
        text += f" (95 % interval {100 * one.low:+.2f} to {100 * one.high:+.2f})"
    text += f": {one.place}" if one.place else ""
    if one.sets_pooled is not None:
        text += f", pooled over {one.sets_pooled} set(s)"
    if None not in (one.sets, one.better, one.worse):
        text += (
            f"; by more than two standard errors better in {one.better} and worse in {one.worse} of {one.sets} set(s)"
        )
    if one.p_holm is None:
        return f"{text}; no test is possible."
    word = "significant" if _is_significant(one) else "not significant"
    return f"{text}; {word}, corrected p = {p_value(one.p_holm)}."


def study_chart(records: Sequence[StudyRecord], folder: str = "") -> Chart | None:
    """Draw the pooled gains with their intervals; None if there is none. ``folder`` precedes the names."""
    return gain_chart([(f"{folder}: " if folder else "", one) for one in records])


def gain_chart(named: Sequence[tuple[str, StudyRecord]]) -> Chart | None:
    """Draw the pooled gains of records, each with what precedes its name."""
    known = [(before, one) for before, one in named if one.known]
    if not known:
        return None
    rows = pd.DataFrame(
        {
            "name": [
                f"{before}{one.method} - {one.reference}{f' ({one.place})' if one.place else ''}"
                for before, one in known
            ],
            **{
                column: [_times(100.0, getattr(one, field)) for _, one in known]
                for column, field in (("value", "difference"), ("low", "low"), ("high", "high"))
            },
        }
    )
    caption = "Gain of each comparison over the sets that are scored by ROC-AUC, with its 95 % interval; right of 0 is better."
    return interval_chart(rows, Titles("Pooled gains", caption, "gain, ROC-AUC x 100", ""), 0.0)


def analysis_verdicts(records: Sequence[MeasureRecord], metric: str) -> list[str]:
    """Say how each method scores beside its control after the last update, and which layer fine-tuning changes most."""
    found = []
    for one in _last(records):
        if one.measure == metric and one.control is not None and one.difference is not None:
            found.append(_difference(one, metric))
    for method, labels in dict.fromkeys((one.method, one.labels) for one in records):
        layers = [one for one in _last(records) if _is_layer(one) and (one.method, one.labels) == (method, labels)]
        if layers:
            least = min(layers, key=lambda one: one.mean)
            layer = least.measure.removeprefix(CKA)
            found.append(
                f"Of {method}, fine-tuning changes '{layer}' most: CKA {least.mean:.3f} after {_cell(least)} (1 = unchanged)."
            )
    return found[:_MOST_VERDICTS]


def _difference(one: MeasureRecord, metric: str) -> str:
    factor, decimals = scale(metric)
    difference = one.difference or 0.0
    gain = difference if HIGHER_IS_BETTER.get(metric, True) else -difference
    text = f"{one.method} is {gain_word(gain)} {one.control} by {abs(factor * difference):.{decimals}f}"
    text += f" in {TITLES.get(metric, metric)} after {_cell(one)}"
    if one.difference_low is None or one.difference_high is None:
        return f"{text}; there is no interval."
    low, high = factor * one.difference_low, factor * one.difference_high
    word = "which holds 0" if low <= 0 <= high else "without 0"
    return f"{text} (95 % interval {low:+.{decimals}f} to {high:+.{decimals}f}, {word}; not corrected for several comparisons)."


def _cell(one: MeasureRecord) -> str:
    return f"{one.updates} updates with {one.labels} labels"


def _is_layer(one: MeasureRecord) -> bool:
    return one.measure.startswith(CKA)


def _last(records: Sequence[MeasureRecord]) -> list[MeasureRecord]:
    """The records after the last update of each number of labels."""
    last = {
        labels: max(one.updates for one in records if one.labels == labels)
        for labels in {one.labels for one in records}
    }
    return [one for one in records if one.updates == last[one.labels]]


def analysis_charts(records: Sequence[MeasureRecord], metric: str) -> list[Chart]:
    """Draw the CKA of each layer after the last update, and how loss and test score change with updates."""
    layers = [one for one in _last(records) if _is_layer(one)]
    found = []
    if layers:
        rows = [
            (
                f"{one.measure.removeprefix(CKA)}: {one.method}, {one.labels} labels",
                one.mean,
                one.mean_low,
                one.mean_high,
            )
            for one in sorted(layers, key=lambda one: str(one.labels))
        ]
        caption = "Similarity of each layer before and after fine-tuning with its 95 % interval; 1 = unchanged."
        found.append(_intervals(rows, Titles("CKA by layer", caption, "linear CKA", "")))
    for measure, title in ((TRAIN_LOSS, "training loss"), (metric, f"test score, {TITLES.get(metric, metric)}")):
        chosen = [one for one in records if one.measure == measure and one.change is not None]
        factor = 1.0 if measure == TRAIN_LOSS else scale(metric)[0]
        rows = [(f"{one.method}, {one.labels} labels", one.updates, factor * (one.change or 0.0)) for one in chosen]
        if rows:
            table = pd.DataFrame(rows, columns=pd.Index(["line", "x", "y"]))
            caption = f"Change of the {title} since the start of fine-tuning, mean over draws and seeds."
            titles = Titles(f"Change of the {title.partition(',')[0]}", caption, "updates", f"change of {title}")
            found.append(line_chart(table, titles, points=True))
    return found


def evaluation_verdicts(models: Sequence[ModelRecord], metric: str, graphs: dict[str, Any]) -> list[str]:
    """Say how each method scores on each part, and how far it is from the models without pre-training."""
    found, factor, decimals = [], *scale(metric)
    for part, values in _by_part(models).items():
        size = f" ({graphs[part]} graphs)" if part in graphs else ""
        told = [f"{method} {spread(metric, scores)}" for method, scores in values.items()]
        seeds = max(map(len, values.values()))
        found.append(
            f"On {part}{size}, mean and standard deviation over {seeds} seed(s) in {TITLES.get(metric, metric)}: {', '.join(told)}."
        )
        control = values.get("none")
        for method, scores in values.items():
            if control is None or method == "none":
                continue
            difference = float(scores.mean() - control.mean())
            word = "above" if difference > 0 else "below" if difference < 0 else "level with"
            found.append(
                f"{method} is {abs(factor * difference):.{decimals}f} {word} none on {part}; an evaluation makes no test."
            )
    return found


def evaluation_charts(models: Sequence[ModelRecord], metric: str) -> list[Chart]:
    """Draw the scores of each method on each part."""
    factor = scale(metric)[0]
    rows = [
        (f"{method}, {part}", factor * float(scores.mean()), factor * float(scores.min()), factor * float(scores.max()))
        for part, values in _by_part(models).items()
        for method, scores in values.items()
    ]
    caption = "Mean score over the seeds of each method; the line reaches from the lowest to the highest seed."
    return [_intervals(rows, Titles("Scores of the models", caption, TITLES.get(metric, metric), ""))] if rows else []


def _by_part(models: Sequence[ModelRecord]) -> dict[str, dict[str, np.ndarray]]:
    """Scores over seeds by part and method."""
    found: dict[str, dict[str, list[float]]] = {}
    for model in models:
        for part, score in model.scores.items():
            found.setdefault(part, {}).setdefault(model.method, []).append(score.value)
    return {part: {name: np.array(values) for name, values in of.items()} for part, of in found.items()}


def _intervals(rows: Sequence[tuple[str, float, float | None, float | None]], titles: Titles) -> Chart:
    table = pd.DataFrame(rows, columns=pd.Index(["name", "value", "low", "high"])).astype(
        {"value": float, "low": float, "high": float}
    )
    return interval_chart(table, titles)


def _times(factor: float, value: float | None) -> float:
    return float("nan") if value is None else factor * value

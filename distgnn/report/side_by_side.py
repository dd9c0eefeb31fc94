"""Several folders of one kind side by side: pre-training runs, comparisons (fine-tunings, transfers) and studies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from distgnn.pretraining.history import NAME as PROGRESS
from distgnn.pretraining.history import read_progress
from distgnn.report import result_sections, summary
from distgnn.report.charts import Titles, interval_chart, line_chart
from distgnn.report.kinds import METRICS, RESULTS, STUDY, kind_of, rows_of
from distgnn.report.page import Chart, Section, Table
from distgnn.report.result_sections import StudyRecord
from distgnn.report.summary import Score
from distgnn.report.table import TITLES, p_value, scale
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.records import MAX_BYTES, parse_object, read_records
from distgnn.storage.uri import base_name

WHAT = "a file of results"


def compared(uris: Iterable[str]) -> list[Section]:
    """Compare the pre-training runs, the comparisons with a control, and the studies among ``uris``, where there are two or more.

    Raises:
        RequestError: A file of one of them is malformed.
    """
    folders = [open_folder(uri) for uri in dict.fromkeys(uris)]
    by_kind: dict[str, dict[str, Folder]] = {PROGRESS: {}, RESULTS: {}, STUDY: {}}
    for name, folder in zip(_unique([base_name(folder.uri) for folder in folders]), folders, strict=True):
        kind = kind_of(folder)
        if kind is not None and kind.file in by_kind:
            by_kind[kind.file][name] = folder
    found = [
        _runs(by_kind[PROGRESS]),
        _scores({name: scores for name, one in by_kind[RESULTS].items() if (scores := _read_scores(one))}),
        _studies({name: _read_study(one) for name, one in by_kind[STUDY].items()}),
    ]
    return [section for section in found if section is not None]


def _runs(runs: dict[str, Folder]) -> Section | None:
    """Compare pre-training runs: their last metrics in one table, their curves in one chart."""
    if len(runs) < 2:
        return None
    snapshots = {name: read_progress(run) for name, run in runs.items()}
    parts = list(dict.fromkeys(name for shot in snapshots.values() for name in shot.get("validation", {})))
    titles = ["run", "status", "step", *(f"validation {name}" for name in parts)]
    body = [
        [name, str(shot["status"]), str(shot["step"])]
        + ["" if (value := shot.get("validation", {}).get(part)) is None else f"{value:.4g}" for part in parts]
        for name, shot in snapshots.items()
    ]
    curves = {name: pd.DataFrame(rows_of(run)) for name, run in runs.items()}
    charts = [chart for metric in METRICS if (chart := _overlay(curves, metric)) is not None]
    return Section("Comparison of the runs", tables=[Table("", "", titles, body)], charts=charts)


def _overlay(curves: dict[str, pd.DataFrame], metric: str) -> Chart | None:
    parts = [
        pd.DataFrame({"x": rows["step"], "y": rows[metric], "line": name}).dropna()
        for name, rows in curves.items()
        if metric in rows
    ]
    drawn = [part for part in parts if len(part)]
    if len(drawn) < 2:
        return None
    title = METRICS[metric]
    return line_chart(pd.concat(drawn), Titles(title, f"{title} in training against the step.", "step", title.lower()))


def _read_scores(folder: Folder) -> list[Score]:
    """The differences to the control in the first metric of a comparison; empty for other results."""
    values = parse_object(folder.read(RESULTS, MAX_BYTES), folder.at(RESULTS), WHAT)
    if not isinstance(values.get("summary"), list):
        return []
    scores = read_records(values["summary"], Score, folder.at(RESULTS), WHAT)
    return [score for score in scores if score.metric == scores[0].metric and score.difference is not None]


def _scores(given: dict[str, list[Score]]) -> Section | None:
    if len(given) < 2:
        return None
    every = [(name, score) for name, scores in given.items() for score in scores]
    titles = ["folder", "method", "where", "metric", "mean", "difference to control", "95 % interval", "p (Holm)"]
    body = [_score_row(name, score) for name, score in every]
    note = "Each difference is to the control of its own folder; between folders nothing is tested."
    charts = []
    for metric in dict.fromkeys(score.metric for _, score in every):
        rows = [
            (f"{name}: {one.method}{f' ({one.place})' if one.place else ''}", one)
            for name, one in every
            if one.metric == metric
        ]
        table = pd.DataFrame(
            {
                "name": [name for name, _ in rows],
                "value": [_scaled(metric, one.difference) for _, one in rows],
                "low": [_scaled(metric, one.low) for _, one in rows],
                "high": [_scaled(metric, one.high) for _, one in rows],
            }
        )
        title = TITLES.get(metric, metric)
        caption = f"Difference to the control of the same folder with its 95 % interval; {summary.direction(metric)}."
        charts.append(
            interval_chart(table, Titles("Differences to the controls", caption, f"difference in {title}", ""), 0.0)
        )
    return Section(
        "Comparison of the results", _score_verdicts(every), tables=[Table("", note, titles, body)], charts=charts
    )


def _score_row(name: str, one: Score) -> list[str]:
    factor, decimals = scale(one.metric)
    limits = "-"
    if one.low is not None and one.high is not None:
        limits = f"{factor * one.low:+.{decimals}f} to {factor * one.high:+.{decimals}f}"
    return [
        name, one.method, one.place, TITLES.get(one.metric, one.metric), f"{factor * one.mean:.{decimals}f}",
        f"{factor * (one.difference or 0.0):+.{decimals}f}", limits, p_value(one.p_holm),
    ]  # fmt: skip


def _score_verdicts(every: Sequence[tuple[str, Score]]) -> list[str]:
    """Say in each place that several folders share which of them gains most over its control."""
    found = []
    for place, metric in dict.fromkeys((one.place, one.metric) for _, one in every):
        here = [(name, one) for name, one in every if (one.place, one.metric) == (place, metric)]
        if len({name for name, _ in here}) < 2:
            continue
        factor, decimals = scale(metric)
        ranked = sorted(here, key=lambda pair: -_gain(pair[1]))
        told = [f"{one.method} in {name} ({factor * (one.difference or 0.0):+.{decimals}f})" for name, one in ranked]
        where = f"{place}: " if place else ""
        found.append(
            f"{where}differences to the control in {TITLES.get(metric, metric)}, best first: {', then '.join(told)}."
        )
    return found


def _gain(one: Score) -> float:
    return (one.difference or 0.0) if one.gain is None else one.gain


def _scaled(metric: str, value: float | None) -> float:
    return float("nan") if value is None else scale(metric)[0] * value


def _read_study(folder: Folder) -> list[StudyRecord]:
    values = parse_object(folder.read(STUDY, MAX_BYTES), folder.at(STUDY), WHAT)
    return read_records(values.get("records"), StudyRecord, folder.at(STUDY), WHAT)


def _studies(given: dict[str, list[StudyRecord]]) -> Section | None:
    if len(given) < 2:
        return None
    every = [(name, one) for name, records in given.items() for one in records if one.known]
    titles = ["folder", "comparison", "where", "gain, ROC-AUC x 100", "95 % interval", "p (Holm)"]
    body = [
        [
            name, f"{one.method} - {one.reference}", one.place, f"{100 * (one.difference or 0.0):+.2f}",
            "-" if one.low is None or one.high is None else f"{100 * one.low:+.2f} to {100 * one.high:+.2f}",
            p_value(one.p_holm),
        ]
        for name, one in every
    ]  # fmt: skip
    verdicts = []
    for pair in dict.fromkeys((one.method, one.reference, one.place) for _, one in every):
        here = [(name, one) for name, one in every if (one.method, one.reference, one.place) == pair]
        if len(here) > 1:
            told = ", ".join(f"{100 * (one.difference or 0.0):+.2f} in {name}" for name, one in here)
            verdicts.append(f"{pair[0]} - {pair[1]}{f', {pair[2]}' if pair[2] else ''}: {told} points of AUC.")
    chart = result_sections.gain_chart([(f"{name}: ", one) for name, one in every])
    note = "Pooled over the sets of each study; between studies nothing is tested."
    return Section(
        "Comparison of the studies", verdicts, tables=[Table("", note, titles, body)], charts=[chart] if chart else []
    )


def _unique(names: list[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names, 1)]

"""Scores in results.json of comparisons and few-label evaluations, for reports: verdicts in words, a table and charts."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pandas as pd

from distgnn.config.transfer import AUTO
from distgnn.labels.scores import HIGHER_IS_BETTER
from distgnn.report.charts import Titles, interval_chart, line_chart
from distgnn.report.page import Chart, Table
from distgnn.report.table import TITLES, gain_word, p_value, scale
from distgnn.storage.records import Name


@dataclass(frozen=True)
class Score:
    """One record of "summary" in results.json; what a command does not write is None."""

    method: Name
    metric: Name
    mean: float
    sd: float | None = None
    encoder: Name | None = None
    scheme: Name | None = None
    part: Name | None = None
    labels: int | Name | None = None
    updates: int | None = None
    seeds: int | None = None
    draws: int | None = None
    n: int | None = None
    control: Name | None = None
    difference: float | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None

    @property
    def place(self) -> str:
        """Where the record was measured, such as "test, 100 labels, 30 updates"."""
        given = [self.scheme, self.encoder, self.part]
        given += [f"{self.labels} labels"] if self.labels is not None else []
        given += [f"{self.updates} updates"] if self.updates is not None else []
        return ", ".join(text for text in given if text)


def direction(metric: str) -> str:
    """Return which direction of a metric is better, in words."""
    return "higher is better" if HIGHER_IS_BETTER.get(metric, True) else "lower is better"


def verdicts(scores: list[Score]) -> list[str]:
    """Say how each method compares with its control in the first metric."""
    main, others = _main(scores)
    found = [_verdict(score) for score in main if score.control is not None and score.difference is not None]
    return found + ([f"The table also has {', '.join(others)}."] if found and others else [])


def _main(scores: list[Score]) -> tuple[list[Score], list[str]]:
    """Return the scores of the first metric, and the names of the other metrics."""
    first, *others = dict.fromkeys(score.metric for score in scores) or [""]
    return [score for score in scores if score.metric == first], [TITLES.get(name, name) for name in others]


def _verdict(score: Score) -> str:
    factor, decimals = scale(score.metric)
    difference = score.difference or 0.0
    gain = difference if score.gain is None else score.gain
    method, control = score.method, score.control
    if score.scheme == AUTO:
        method, control = f"What validation chooses for {method}", f"{control} from scratch"
    text = f"{method} is {gain_word(gain)} {control} by {abs(factor * difference):.{decimals}f}"
    if score.low is not None and score.high is not None:
        text += f" (95 % interval {factor * score.low:+.{decimals}f} to {factor * score.high:+.{decimals}f})"
    text += f" in {TITLES.get(score.metric, score.metric)}" + (f": {score.place}" if score.place else "")
    if score.p_holm is None:
        return f"{text}; no test is possible."
    return (
        f"{text}; {'significant' if score.p_holm < 0.05 else 'not significant'}, corrected p = {p_value(score.p_holm)}."
    )


def table(scores: list[Score]) -> Table:
    """Return all scores, with the columns that they have."""
    used = [item.name for item in fields(Score) if any(getattr(score, item.name) is not None for score in scores)]
    if all(score.gain == score.difference for score in scores):  # higher is better
        used = [name for name in used if name != "gain"]
    body = [[_cell(score, name) for name in used] for score in scores]
    note = "Scores as stored: mean and sample standard deviation (sd); difference to the control; p, and after Holm's correction."
    return Table("Scores", note, [name.replace("_", " ") for name in used], body)


def _cell(score: Score, name: str) -> str:
    value = getattr(score, name)
    if value is None:
        return ""
    if name in ("mean", "sd", "difference", "gain", "low", "high"):
        factor, decimals = scale(score.metric)
        sign = "" if name in ("mean", "sd") else "+"
        return f"{factor * value:{sign}.{decimals}f}"
    return p_value(value) if name in ("p", "p_holm") else str(value)


def charts(scores: list[Score]) -> list[Chart]:
    """Draw learning curves and differences to the control in the first metric, where there are any."""
    main, _ = _main(scores)
    return [chart for chart in (_learning_curves(main), _differences(main)) if chart is not None]


def _learning_curves(scores: list[Score]) -> Chart | None:
    """Draw scores against updates, or against labels; None if there is one point only."""
    axis = next((name for name in ("updates", "labels") if len({getattr(score, name) for score in scores}) > 1), None)
    numbers = [score for score in scores if isinstance(getattr(score, axis or "labels"), int)]
    if axis is None or len({getattr(score, axis) for score in numbers}) < 2:
        return None
    other = "labels" if axis == "updates" else "updates"
    several = len({getattr(score, other) for score in numbers}) > 1
    metric = scores[0].metric
    rows = [
        {
            "x": getattr(score, axis),
            "y": scale(metric)[0] * score.mean,
            "line": f"{score.method}, {getattr(score, other)} {other}" if several else score.method,
        }
        for score in numbers
    ]
    title = TITLES.get(metric, metric)
    caption = f"Mean over draws against the number of {axis}."
    return line_chart(pd.DataFrame(rows), Titles("Learning curves", caption, axis, title), points=True)


def _differences(scores: list[Score]) -> Chart | None:
    having = [score for score in scores if score.difference is not None]
    if not having:
        return None
    rows = pd.DataFrame(
        {
            "name": [f"{score.method}{f' ({score.place})' if score.place else ''}" for score in having],
            **{
                column: [_scaled(score, field) for score in having]
                for column, field in (("value", "difference"), ("low", "low"), ("high", "high"))
            },
        }
    )
    title = TITLES.get(having[0].metric, having[0].metric)
    caption = f"Difference to the control with its 95 % interval where there is one; {direction(having[0].metric)}."
    return interval_chart(rows, Titles("Differences to the control", caption, f"difference in {title}", ""), 0.0)


def _scaled(score: Score, name: str) -> float:
    value = getattr(score, name)
    return float("nan") if value is None else scale(score.metric)[0] * value

"""Interactive charts of a transfer in its folder: validation by epoch, and the curves of the tasks by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from distgnn.errors import RequestError
from distgnn.report.charts import Titles, line_chart
from distgnn.report.curves import CURVES_FILE, smoothed
from distgnn.report.page import Chart
from distgnn.report.summary import Score
from distgnn.report.table import TITLES, scale
from distgnn.storage.folder import Folder
from distgnn.storage.records import Name, convert

_MOST_BYTES, _MOST_CHARTS, _POINTS = 256 << 20, 40, 120
_PANELS = {
    "losses": ("Losses", "loss"),
    "weights": ("Weights", "weight"),
    "cosines": ("Gradient similarity", "cosine with the gradient of the target"),
}
_PLACE = ["scheme", "encoder", "method"]


def transfer_charts(folder: Folder, values: dict[str, Any], scores: list[Score], where: str) -> list[Chart]:
    """Draw the charts of the transfer whose results.json is ``values``; empty without its training curves.

    Raises:
        RequestError: The runs in results.json or the file of the curves are malformed.
    """
    raw = folder.read_if_there(CURVES_FILE, _MOST_BYTES)
    if raw is None:
        return []
    return [*_validation(values, where), *_tasks(raw, folder, scores)][:_MOST_CHARTS]


def _validation(values: dict[str, Any], where: str) -> Iterator[Chart]:
    """Draw the validation score of every method by epoch, for each scheme and encoder."""
    metric = str((values.get("metrics") or [""])[0])
    rows = []
    for run in values.get("runs") or []:
        if not isinstance(run, dict) or not isinstance(run.get("validation"), list) or run.get("chosen"):
            continue
        place = convert({name: run.get(name) for name in _PLACE}, dict[Name, Name], where, "a run of a transfer")
        seen = convert(run["validation"], list[dict[Name, float]], where, "validation scores")
        seed = convert(run.get("seed"), int, where, "a seed")
        rows += [
            {**place, "seed": seed, "x": epoch, "y": scale(metric)[0] * scores[metric]}
            for epoch, scores in enumerate(seen, 1)
            if metric in scores
        ]
    if not rows:
        return
    table = pd.DataFrame(rows)
    title = TITLES.get(metric, metric)
    for (scheme, encoder), part in _groups(table, _PLACE[:2]):
        mean = _means(part, ["method", "x"], "y").rename(columns={"method": "line"})
        caption = f"Validation score by epoch, mean over {_seeds(part)}: {scheme}, {encoder}."
        yield line_chart(mean, Titles(f"Validation: {scheme}, {encoder}", caption, "epoch", f"validation {title}"))


def _tasks(raw: bytes, folder: Folder, scores: list[Score]) -> Iterator[Chart]:
    """Draw losses, weights and similarities of the tasks of each method that has a control, and the loss of its judge."""
    try:
        columns = [*_PLACE, "task", "seed", "step", *_PANELS, "meta_loss"]
        table: pd.DataFrame = pq.read_table(pa.BufferReader(raw), columns=columns).to_pandas()
    except pa.ArrowInvalid as error:
        raise RequestError(f"{folder.at(CURVES_FILE)}: not the curves of a transfer ({error})") from error
    compared = {(score.scheme, score.encoder, score.method) for score in scores if score.control is not None}
    for place, part in _groups(table, _PLACE):
        if place in compared:
            yield from _of_method(part, *place)


def _of_method(table: pd.DataFrame, scheme: str, encoder: str, method: str) -> Iterator[Chart]:
    where = f"{scheme}, {encoder}, mean over {_seeds(table)}"
    for column, (title, label) in _PANELS.items():
        drawn = _smoothed(table.rename(columns={"task": "line"}), column)
        if len(drawn):
            caption = f"{title} of each task against the step, smoothed: {where}."
            yield line_chart(drawn, Titles(f"{title} of {method}", caption, "step", label))
    target = table.loc[table["meta_loss"].notna()]
    judged = [
        _smoothed(target.assign(line=line), column)
        for column, line in (("meta_loss", "rows of the judge"), ("losses", "rows of the step"))
    ]
    if len(judged[0]):
        caption = (
            f"Loss of the target after the look-ahead step on the judge's rows, and on the rows of the step: {where}."
        )
        yield line_chart(pd.concat(judged), Titles(f"Judge of {method}", caption, "step", "loss of the target"))


def _smoothed(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Columns x, y and line: means over seeds in a moving window, thinned."""
    means = _means(table, ["line", "step"], column).dropna()
    parts = []
    for (line,), part in _groups(means, ["line"]):
        smooth = smoothed(pd.DataFrame(part[column]))[column]
        thin = slice(None, None, max(1, -(-len(part) // _POINTS)))
        parts.append(pd.DataFrame({"x": part["step"][thin], "y": smooth[thin], "line": line}))
    return pd.concat(parts) if parts else pd.DataFrame(columns=pd.Index(["x", "y", "line"]))


def _groups(table: pd.DataFrame, names: list[str]) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Yield the values of the columns ``names`` and the rows that have them."""
    groups: Any = table.groupby(names, sort=False, observed=True)
    for place, part in groups:
        yield tuple(map(str, place)), part


def _means(table: pd.DataFrame, names: list[str], column: str) -> pd.DataFrame:
    """Means of ``column`` for each value of the columns ``names``."""
    groups: Any = table.groupby(names, sort=False, observed=True)
    return groups[column].mean().reset_index()


def _seeds(table: pd.DataFrame) -> str:
    return f"{table['seed'].nunique()} seed(s)"

"""Training curves of auxiliary tasks, as a Parquet file and as figures (Figures 3-6 of AUX-TS)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distgnn.auxiliary.comparison import Row
from distgnn.auxiliary.trainer import CURVES, TrainingResult
from distgnn.config.transfer import AUTO
from distgnn.report.auxiliary import MethodComparison
from distgnn.report.png import png as _png
from distgnn.storage.folder import Folder

CURVES_FILE, PICTURES = "curves.parquet", "pictures"
_PANELS = {"losses": "loss", "weights": "weight", "cosines": "gradient similarity"}
_NAMES = ("scheme", "encoder", "method", "task")
_LEGEND_LETTERS = 130
_SMOOTH = 20
"""The window of the moving mean is the number of steps divided by this."""


def write_curves(result: MethodComparison, folder: Folder) -> None:
    """Write curves.parquet: one row per job, step and task. meta_loss is in the rows of the target task."""
    sink, schema = pa.BufferOutputStream(), _schema()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for (row, seed), found in result.results.items():
            if row.scheme == AUTO:  # the curves of another row
                continue
            writer.write_table(_rows(row, seed, found, schema))
    folder.write(CURVES_FILE, sink.getvalue())


def _schema() -> pa.Schema:
    texts = [(name, pa.dictionary(pa.int32(), pa.string())) for name in _NAMES]
    numbers = [(name, pa.float32()) for name in (*CURVES, "meta_loss")]
    return pa.schema([*texts, ("seed", pa.int32()), ("step", pa.int32()), *numbers])


def _rows(row: Row, seed: int, found: TrainingResult, schema: pa.Schema) -> pa.Table:
    steps, tasks = found.curves["losses"].shape
    texts = [np.zeros(steps * tasks, np.int32)] * 3 + [np.tile(np.arange(tasks, dtype=np.int32), steps)]
    values = [[row.scheme], [row.encoder], [row.method], list(found.tasks)]
    named = [pa.DictionaryArray.from_arrays(place, value) for place, value in zip(texts, values, strict=True)]
    meta = np.full((steps, tasks), np.nan, np.float32)
    meta[:, 0] = found.meta_loss
    numbers = [_or_null(found.curves[name]) for name in CURVES] + [_or_null(meta)]
    seeds, step = np.full(steps * tasks, seed, np.int32), np.repeat(np.arange(steps, dtype=np.int32), tasks)
    return pa.Table.from_arrays([*named, pa.array(seeds), pa.array(step), *numbers], schema=schema)


def _or_null(values: npt.NDArray[np.float32]) -> pa.Array:
    flat = values.reshape(-1)
    return pa.array(flat, mask=np.isnan(flat))


def pictures(result: MethodComparison) -> Iterator[tuple[str, bytes]]:
    """Figures of the training curves.

    Yields:
        (file name, PNG): losses, weights and cosines of each method that has a control, for methods with a look-ahead also the
        loss of the judge, and validation scores of all methods.
    """
    for scheme, encoder in dict.fromkeys((row.scheme, row.encoder) for row in result.rows if row.scheme != AUTO):
        where = f"{scheme}, {encoder}, {len(result.seeds)} seed(s)"
        rows = [row for row in result.rows if (row.scheme, row.encoder) == (scheme, encoder)]
        by_method = {row.method: result.of(row) for row in rows}
        yield f"{scheme}-{encoder}-validation.png", _png(_validation(by_method, where, result.metric))
        for row in rows:
            if row in result.controls:
                title = f"{row.method}: {where}"
                yield f"{scheme}-{encoder}-{row.method}.png", _png(_training(by_method[row.method], title))


def write_pictures(result: MethodComparison, folder: Folder) -> None:
    """Write the figures to the folder ``pictures``."""
    for name, data in pictures(result):
        folder.sub(PICTURES).write(name.replace("/", "_"), data)


def _training(found: list[TrainingResult], title: str) -> Figure:
    names = found[0].tasks
    columns = max(1, min(len(names), _LEGEND_LETTERS // (max(map(len, names)) + 8)))  # names may be long
    judges = [fitted.meta_loss for fitted in found]
    judged = any(np.isfinite(judge).any() for judge in judges)
    figure = Figure(figsize=(10, 8 + 0.22 * -(-len(names) // columns)), layout="constrained")
    panels = np.ravel(figure.subplots(2, 2))
    for axes, (curve, label) in zip(panels, _PANELS.items(), strict=False):
        for place, task in enumerate(names):
            curves = [fitted.curves[curve][:, place] for fitted in found]
            _line(axes, curves, task, f"C{place}")
        axes.set(xlabel="step", ylabel=label)
        axes.grid(alpha=0.3)
    if judged:
        _judge(panels[-1], judges, [fitted.curves["losses"][:, 0] for fitted in found])
    else:
        panels[-1].remove()
    figure.suptitle(title)
    lines, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=columns, fontsize="small")
    return figure


def _judge(axes: Axes, judges: list[npt.NDArray[np.floating]], target: list[npt.NDArray[np.floating]]) -> None:
    """Draw the target's loss on the judge's rows after the look-ahead, and on the rows of the step."""
    _line(axes, judges, "rows of the judge", "black")
    _line(axes, target, "rows of the step", "C0")
    axes.set(xlabel="step", ylabel="loss of the target")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _validation(fitted: dict[str, list[TrainingResult]], title: str, metric: str) -> Figure:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for place, (method, found) in enumerate(fitted.items()):
        curves = [np.array([epoch[metric] for epoch in one.validation]) for one in found]
        table = _table(curves)
        axes.plot(table.index + 1, table.mean(axis=1), label=method, color=f"C{place}")
    axes.set(xlabel="epoch", ylabel=f"validation {metric}", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def _line(axes: Axes, curves: list[npt.NDArray[np.floating]], label: str, color: str) -> None:
    """Plot the mean over seeds: raw in the background, smoothed in the foreground, with a band of one standard deviation."""
    table = _table(curves)
    if table.isna().to_numpy().all():
        return
    smooth = smoothed(table)
    middle, spread = smooth.mean(axis=1), np.nan_to_num(smooth.std(axis=1, ddof=1))
    axes.plot(table.index, table.mean(axis=1), color=color, alpha=0.2, linewidth=0.6)
    axes.fill_between(table.index, middle - spread, middle + spread, color=color, alpha=0.15, linewidth=0)
    axes.plot(table.index, middle, color=color, label=label)


def _table(curves: list[npt.NDArray[np.floating]]) -> pd.DataFrame:
    """One column per seed; shorter curves are padded with NaN."""
    return pd.DataFrame({number: pd.Series(np.asarray(curve, np.float64)) for number, curve in enumerate(curves)})


def smoothed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the centred moving mean of each column, over a twentieth of the rows."""
    return pd.DataFrame(table.rolling(max(1, len(table) // _SMOOTH), min_periods=1, center=True).mean())

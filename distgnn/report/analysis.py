"""Tables, records and figures of an analysis of checkpoints before and after fine-tuning (L2P-GNN, Fig. 2 and 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distgnn.config import to_json
from distgnn.finetuning.analysis import CKA, TRAIN_LOSS, Analysis
from distgnn.finetuning.few_label_jobs import Size
from distgnn.labels.resampling import Effect, effect, interval
from distgnn.report.few_labels import heading
from distgnn.report.table import TITLES, escape_markdown, markdown_table, scale, text_table

_NOTES = """Means over draws and pre-training seeds with 95 % confidence intervals, which allow for overlapping draws (Nadeau
and Bengio, 2003) and are not corrected for the number of comparisons. CKA: linear centred kernel alignment (Kornblith et al.,
2019) of a layer before and after fine-tuning, on the test graphs of each draw, in evaluation mode; 1 = unchanged up to a
rotation, a scaling and a shift. Loss: training loss in evaluation mode. The head is new, and the same for all methods of a draw."""
_Table = tuple[str, list[str], list[list[str]]]


def _values(result: Analysis, measure: str, method: str, size: Size, updates: int) -> npt.NDArray[np.float64]:
    return result.scores.measured[measure][method, size, updates]


def _overlap(result: Analysis, measure: str, size: Size) -> float:
    """n / (N - n), where n is the number of graphs that the measure is taken on; see :mod:`distgnn.labels.resampling`."""
    if measure != TRAIN_LOSS:
        return result.scores.overlap
    every = len(result.scores.data.parts["all"])
    train = every - float(np.mean(result.scores.tested)) if size == "all" else size
    return train / (every - train)


def _mean(result: Analysis, measure: str, method: str, size: Size, updates: int) -> Effect:
    found = interval(_values(result, measure, method, size, updates), _overlap(result, measure, size))
    if not measure.startswith(CKA) or found.low is None or found.high is None:
        return found
    return found._replace(low=max(found.low, 0.0), high=min(found.high, 1.0))  # CKA lies in [0, 1]


def _change(result: Analysis, measure: str, method: str, size: Size, updates: int) -> Effect:
    """Return the change of a measure since the start of the training."""
    change = _values(result, measure, method, size, updates) - _values(result, measure, method, size, 0)
    return interval(change, _overlap(result, measure, size))


def _gain(result: Analysis, measure: str, method: str, size: Size, updates: int) -> Effect | None:
    """Return the difference of a measure to the control; None for a control."""
    control = result.scores.controls.get(method)
    if control is None:
        return None
    own, other = (_values(result, measure, name, size, updates) for name in (method, control))
    return effect(own, other, _overlap(result, measure, size))


def records(result: Analysis) -> list[dict[str, Any]]:
    """Return one record for each number of labels and updates, method and measure, with 95 % intervals.

    ``change`` is since the start of the training, ``difference`` to the control; None where they have no meaning.
    """
    return [
        _record(result, measure, (method, size, updates))
        for size, updates in result.scores.cells
        for method in result.scores.methods
        for measure in result.scores.measured
    ]


def _record(result: Analysis, measure: str, place: tuple[str, Size, int]) -> dict[str, Any]:
    method, size, updates = place
    changes = updates and not measure.startswith(CKA)
    return {
        "method": method,
        **dict(zip(result.fields, result.values.get(method, (None,) * len(result.fields)), strict=True)),
        "labels": size,
        "updates": updates,
        "measure": measure,
        "seeds": len(_values(result, measure, *place)),
        "draws": result.scores.config.draws,
        **_limits("mean", _mean(result, measure, *place)),
        **_limits("change", _change(result, measure, *place) if changes else None),
        "control": result.scores.controls.get(method),
        **_limits("difference", _gain(result, measure, *place)),
    }


def _limits(name: str, found: Effect | None) -> dict[str, float | None]:
    if found is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: found.difference, f"{name}_low": found.low, f"{name}_high": found.high}


def to_values(result: Analysis) -> dict[str, Any]:
    """Return the result as JSON values: the content of results.json."""
    return {
        "config": to_json(result.scores.config),
        "metric": result.scores.metric,
        "higher_is_better": result.scores.higher_is_better,
        "graphs": len(result.scores.data.parts["all"]),
        "test_graphs": list(result.scores.tested),
        "layers": list(result.layers),
        "analysis": records(result),
    }


def last_means(result: Analysis) -> dict[str, float]:
    """Return the mean of every measure after the last update by ``METHOD/LABELS_labels/MEASURE``."""
    return {
        f"{method}/{size}_labels/{measure}": float(_values(result, measure, method, size, _last(result, size)).mean())
        for size in _sizes(result)
        for method in result.scores.methods
        for measure in result.scores.measured
    }


def _sizes(result: Analysis) -> list[Size]:
    return list(dict.fromkeys(size for size, _ in result.scores.cells))


def _updates(result: Analysis, size: Size) -> list[int]:
    """Return the numbers of updates of a training, ascending, 0 first."""
    return [updates for other, updates in result.scores.cells if other == size]


def _last(result: Analysis, size: Size) -> int:
    return _updates(result, size)[-1]


def _rows(result: Analysis) -> list[tuple[str, Size, int]]:
    """Return (method, labels, updates) of the rows of a table."""
    cells = [cell for cell in result.scores.cells if cell[1]]
    return [(method, *cell) for cell in cells for method in result.scores.methods]


def _cell(found: Effect | None, factor: float, decimals: int, sign: str = "") -> str:
    """Format a mean and its interval."""
    if found is None:
        return ""
    text = f"{factor * found.difference:{sign}.{decimals}f}"
    if found.low is None or found.high is None:
        return text
    return f"{text} ({factor * found.low:{sign}.{decimals}f} to {factor * found.high:{sign}.{decimals}f})"


def _tables(result: Analysis) -> Iterator[_Table]:
    """Yield (heading, titles, rows) of each table."""
    yield _cka_table(result)
    yield _change_table(result)
    if result.fields:
        yield _against_table(result)


def _cka_table(result: Analysis) -> _Table:
    body = [
        [str(size), str(updates), method]
        + [_cell(_mean(result, f"{CKA}{layer}", method, size, updates), 1, 3) for layer in result.layers]
        for method, size, updates in _rows(result)
    ]
    return "CKA of layers before and after fine-tuning", ["labels", "updates", "method", *result.layers], body


def _change_table(result: Analysis) -> _Table:
    metric, (factor, decimals) = result.scores.metric, scale(result.scores.metric)
    titles = ["labels", "updates", "method", "loss before", "change of loss", "test before", "test", "change of test"]
    body = []
    for method, size, updates in _rows(result):
        loss, test = (_mean(result, measure, method, size, 0).difference for measure in (TRAIN_LOSS, metric))
        body.append([
            str(size), str(updates), method,
            f"{loss:.3f}", _cell(_change(result, TRAIN_LOSS, method, size, updates), 1, 3, "+"),
            f"{factor * test:.{decimals}f}",
            f"{factor * _mean(result, metric, method, size, updates).difference:.{decimals}f}",
            _cell(_change(result, metric, method, size, updates), factor, decimals, "+"),
            _cell(_gain(result, metric, method, size, updates), factor, decimals, "+"),
        ])  # fmt: skip
    return f"Training loss and test score ({TITLES[metric]}) since the start", [*titles, "test, minus control"], body


def _against_table(result: Analysis) -> _Table:
    metric, (factor, decimals) = result.scores.metric, scale(result.scores.metric)
    body = [
        [
            *map(str, result.values[method]),
            str(size),
            str(updates),
            method,
            _cell(_mean(result, metric, method, size, updates), factor, decimals),
            _cell(_gain(result, metric, method, size, updates), factor, decimals, "+"),
        ]
        for method in _ordered(result)
        for size, updates in result.scores.cells
        if updates
    ]
    title = f"{TITLES[metric]} against {' and '.join(result.fields)}"
    return title, [*result.fields, "labels", "updates", "method", "test", "minus control"], body


def _levels(result: Analysis, place: int) -> list[Any]:
    """Return the distinct values of a field, numbers in ascending order."""
    found = list(dict.fromkeys(values[place] for values in result.values.values() if None not in values))
    return sorted(found) if all(isinstance(value, int | float) for value in found) else found


def _ordered(result: Analysis) -> list[str]:
    """Return the methods that have a value of every field, ordered by the values."""
    known = [method for method, values in result.values.items() if None not in values]
    levels = [_levels(result, place) for place in range(len(result.fields))]
    return sorted(known, key=lambda method: [levels[n].index(value) for n, value in enumerate(result.values[method])])


def terminal(result: Analysis) -> str:
    """Return the tables for standard output."""
    return "\n\n".join([heading(result.scores), *(text_table(*table) for table in _tables(result))])


def markdown(result: Analysis) -> str:
    """Return the tables as Markdown, with notes."""
    tables = [f"{escape_markdown(title)}\n\n{markdown_table(titles, body)}" for title, titles, body in _tables(result)]
    return "\n\n".join([escape_markdown(heading(result.scores)), *tables, _NOTES]) + "\n"


def cka_figure(result: Analysis) -> Figure:
    """Draw the CKA of every layer after the last update with 95 % intervals, one panel for each number of labels (Fig. 2a)."""
    sizes, x = _sizes(result), np.arange(len(result.layers))
    figure, grid = _panels(1, len(sizes))
    for axes, size in zip(grid[0], sizes, strict=True):
        last = _last(result, size)
        for number, method in enumerate(result.scores.methods):
            found = [_mean(result, f"{CKA}{layer}", method, size, last) for layer in result.layers]
            _line(axes, x + 0.06 * (number - (len(result.scores.methods) - 1) / 2), found, 1, result, method)
        axes.set_xticks(x, result.layers, rotation=30, ha="right")
        axes.set(title=f"{size} labels, {last} updates")
    grid[0, 0].set_ylabel("CKA with before fine-tuning")
    return _with_legend(figure, grid[0, 0])


def change_figure(result: Analysis) -> Figure:
    """Draw the change of training loss and test score against updates, a column for each number of labels (Fig. 2b, 2c)."""
    sizes, factor = _sizes(result), scale(result.scores.metric)[0]
    figure, grid = _panels(2, len(sizes))
    rows = ((TRAIN_LOSS, 1.0, "training loss"), (result.scores.metric, factor, TITLES[result.scores.metric]))
    for line, (measure, times, label) in zip(grid, rows, strict=True):
        for axes, size in zip(line, sizes, strict=True):
            for method in result.scores.methods:
                found = [_change(result, measure, method, size, updates) for updates in _updates(result, size)]
                _line(axes, np.arange(len(found)), found, times, result, method)
            axes.set_xticks(range(len(_updates(result, size))), list(map(str, _updates(result, size))))
            axes.set(title=f"{size} labels", xlabel="updates")
            axes.axhline(0, color="0.35", linewidth=0.8)
        line[0].set_ylabel(f"change of {label}")
    return _with_legend(figure, grid[0, 0])


def against_figure(result: Analysis) -> Figure:
    """Draw test scores against the fields of ``result``, one panel for each number of labels (Fig. 3).

    One field: a line for each number of updates, that of the control dashed. Two fields: a grid of scores after the last
    update.
    """
    sizes = _sizes(result)
    figure, grid = _panels(1, len(sizes))
    for axes, size in zip(grid[0], sizes, strict=True):
        (_against_one if len(result.fields) == 1 else _against_two)(axes, result, size)
    if len(result.fields) == 2:
        return figure
    grid[0, 0].set_ylabel(TITLES[result.scores.metric])
    return _with_legend(figure, grid[0, 0])


def _against_one(axes: Axes, result: Analysis, size: Size) -> None:
    metric, factor, methods = result.scores.metric, scale(result.scores.metric)[0], _ordered(result)
    x = np.arange(len(methods))
    for number, updates in enumerate(_updates(result, size)[1:]):
        controls = [result.scores.controls[method] for method in methods]
        for names, style, suffix in ((methods, "-o", ""), (controls, "--", ", none")):
            found = [_mean(result, metric, name, size, updates) for name in names]
            mean, low, high = _band(found, factor)
            axes.plot(x, mean, style, color=f"C{number}", markersize=4, label=f"{updates} updates{suffix}")
            if not suffix:
                axes.errorbar(x, mean, [mean - low, high - mean], fmt="none", color=f"C{number}", capsize=3)
    axes.set_xticks(x, [str(result.values[method][0]) for method in methods])
    axes.set(title=f"{size} labels", xlabel=result.fields[0])


def _against_two(axes: Axes, result: Analysis, size: Size) -> None:
    factor, decimals = scale(result.scores.metric)
    rows, columns, last = _levels(result, 0), _levels(result, 1), _last(result, size)
    shown = np.full((len(rows), len(columns)), np.nan)
    for method in _ordered(result):
        first, second = result.values[method]
        mean = factor * _mean(result, result.scores.metric, method, size, last).difference
        shown[rows.index(first), columns.index(second)] = mean
        axes.text(
            columns.index(second),
            rows.index(first),
            f"{mean:.{decimals}f}",
            ha="center",
            va="center",
            backgroundcolor="w",
        )
    axes.imshow(shown, aspect="auto", cmap="viridis" if result.scores.higher_is_better else "viridis_r")
    axes.set_yticks(range(len(rows)), list(map(str, rows)))
    axes.set_xticks(range(len(columns)), list(map(str, columns)))
    axes.grid(visible=False)
    title = f"{TITLES[result.scores.metric]}, {size} labels, {last} updates"
    axes.set(title=title, ylabel=result.fields[0], xlabel=result.fields[1])


FIGURES: dict[str, Callable[[Analysis], Figure]] = {
    "cka": cka_figure,
    "changes": change_figure,
    "against": against_figure,
}
"""Figures by the name of their file; "against" needs fields."""


def _panels(rows: int, columns: int) -> tuple[Figure, npt.NDArray[Any]]:
    figure = Figure(figsize=(4.2 * columns + 0.6, 3.0 * rows + 0.8), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.grid(alpha=0.3)
    return figure, grid


def _band(found: list[Effect], factor: float) -> npt.NDArray[np.float64]:
    """Return means and limits, float64 [3, n]; the limits are the mean where the interval is undefined."""
    values = [
        (one.difference, *((one.difference,) * 2 if one.low is None or one.high is None else (one.low, one.high)))
        for one in found
    ]
    return factor * np.array(values).T


def _line(axes: Axes, x: npt.NDArray[Any], found: list[Effect], factor: float, result: Analysis, method: str) -> None:
    mean, low, high = _band(found, factor)
    known = method in result.scores.controls
    colour, style = (f"C{result.scores.methods.index(method) % 10}", "-") if known else ("0.35", "--")
    axes.errorbar(
        x, mean, [mean - low, high - mean], color=colour, linestyle=style, marker="o", markersize=4, capsize=3,
        elinewidth=0.8, label=method,
    )  # fmt: skip


def _with_legend(figure: Figure, axes: Axes) -> Figure:
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 6), frameon=False)
    return figure

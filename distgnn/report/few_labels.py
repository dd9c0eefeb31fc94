"""Table, records and figure of a few-label evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distgnn.auxiliary.comparison import SIGNIFICANT
from distgnn.config import to_json
from distgnn.errors import RequestError
from distgnn.finetuning.budget import unequal_costs
from distgnn.finetuning.few_label_jobs import Size
from distgnn.finetuning.few_labels import FewLabelScores
from distgnn.labels.resampling import Effect, effect, interval
from distgnn.labels.scores import holm
from distgnn.report.table import (
    TITLES,
    escape_markdown,
    markdown_table,
    mean_and_sd,
    p_value,
    scale,
    task_of,
    text_table,
)

_NOTES = f"""Mean ± sample standard deviation over draws (of means over pre-training seeds), on the test graphs of each draw.
Difference: mean difference to the control on the same draws, with its 95 % confidence interval. p: two-sided corrected
resampled t-test (Nadeau and Bengio, 2003; the test graphs of draws overlap), with pre-training seeds as a random factor
where a method has several. Holm: corrected over all differences of the table, which decides whether one is significant
(p < {SIGNIFICANT}). An interval from one pre-training seed does not allow for other seeds."""


Cell = tuple[Size, int]
"""(labels, updates)."""


class Contrast(NamedTuple):
    """Difference between a method and a reference at a number of labels and updates.

    Attributes:
        effect: The difference with its interval and test.
        p_holm: Its p-value after Holm's correction over the table.
    """

    effect: Effect
    p_holm: float | None


def contrasts(result: FewLabelScores, reference: str = "") -> dict[tuple[str, Size, int], Contrast]:
    """Compare every method with its control, or all with the method ``reference``, by (method, labels, updates).

    Raises:
        RequestError: There is no method ``reference``.
    """
    if reference and reference not in result.methods:
        raise RequestError(f"reference {reference!r}: is not a method; there are {', '.join(result.methods)}")
    others = {name: reference for name in result.methods if name != reference} if reference else result.controls
    keys = [(name, *cell) for cell in result.cells for name in result.methods if name in others]
    effects = [
        effect(result.scores[name, size, updates], result.scores[others[name], size, updates], result.overlap)
        for name, size, updates in keys
    ]
    corrected = holm([found.p for found in effects])
    return {place: Contrast(found, p) for place, found, p in zip(keys, effects, corrected, strict=True)}


def summary(result: FewLabelScores, reference: str = "") -> list[dict[str, Any]]:
    """Return one record for each number of labels and updates and each method.

    Values of tests and intervals are None where they are undefined, and for the reference (default: the control) itself.
    """
    found, records = contrasts(result, reference), []
    for size, updates in result.cells:
        for name in result.methods:
            values, contrast = result.scores[name, size, updates], found.get((name, size, updates))
            by_draw, one = values.mean(axis=0), contrast.effect if contrast else Effect(np.nan)
            record: dict[str, Any] = {
                "method": name, "labels": size, "updates": updates, "metric": result.metric,
                "draws": values.shape[1], "seeds": values.shape[0], "mean": float(values.mean()),
                "sd": float(by_draw.std(ddof=1)) if len(by_draw) > 1 else None,
                "control": (reference or result.controls[name]) if contrast else None,
                "difference": one.difference if contrast else None,
                "gain": one.difference * (1 if result.higher_is_better else -1) if contrast else None,
                "low": one.low, "high": one.high, "se": one.se, "p": one.p,
                "p_holm": contrast.p_holm if contrast else None,
                "pretrain_graphs": result.costs.get(name, {}).get("graphs"),
                "pretrain_cpu_seconds": result.costs.get(name, {}).get("cpu_seconds"),
            }  # fmt: skip
            records.append(record)
    return records


def records(result: FewLabelScores) -> list[dict[str, Any]]:
    """Return one record for each score: method, pre-training seed, draw, labels and updates."""
    return [
        {"method": name, "seed": seed, "draw": draw, "labels": size, "updates": updates, "metric": result.metric, "value": value}
        for (name, size, updates), values in result.scores.items()
        for seed, row in enumerate(values.tolist())
        for draw, value in enumerate(row)
    ]  # fmt: skip


def to_values(result: FewLabelScores) -> dict[str, Any]:
    """Return the result as JSON values: the content of results.json."""
    return {
        "config": to_json(result.config),
        "task": result.data.target.task,
        "metric": result.metric,
        "higher_is_better": result.higher_is_better,
        "labels": list(result.data.target.names),
        "graphs": len(result.data.parts["all"]),
        "test_graphs": list(result.tested),
        "overlap": result.overlap,
        "coverage": result.coverage,
        "seconds_per_training": result.seconds,
        "controls": result.controls,
        "cost_warning": unequal_costs(result.costs),
        "summary": summary(result),
        "scores": records(result),
    }


def tsv(result: FewLabelScores) -> str:
    """Return the records of :func:`summary` as tab-separated values with a header."""
    return pd.DataFrame(summary(result)).to_csv(sep="\t", index=False)


def heading(result: FewLabelScores) -> str:
    """Return one line: corpus, task, metric, draws, and the settings of the trainings."""
    config, data = result.config, result.data
    direction = "higher" if result.higher_is_better else "lower"
    length = "" if config.updates else f", {config.epochs} epochs"
    statistics = (
        f"norm statistics of the control from {_range(result.normed)} graphs"
        if any(result.normed)
        else "control as built"
    )
    mode = "frozen encoder" if config.frozen else "full fine-tuning"
    left_out = (
        f", coverage {math.floor(100 * result.coverage)} %: some draws leave labels out of the score, since their test graphs lack"
        f" {'both classes' if data.target.task == 'classification' else 'a known value, or their training graphs do'}"
        if result.coverage < 1
        else ""
    )
    return (
        f"{config.corpus}: {task_of(data)}, {len(data.target.names)} label(s), {TITLES[result.metric]} ({direction} is better),"
        f" {config.draws} {config.draw_by} draws of {len(data.parts['all'])} graphs, {_range(result.tested)} to test on, no"
        f" validation, batch {config.batch}, lr {config.lr:g}, dropout {config.dropout:g}{length}, {mode}, {statistics}{left_out}"
    )


def _range(counts: Sequence[int]) -> str:
    """Return counts as "40", or "38-40" if they differ."""
    least, most = min(counts), max(counts)
    return f"{least}" if least == most else f"{least}-{most}"


def costs(result: FewLabelScores) -> str:
    """Return one line: graphs and CPU seconds of the pre-training of each method, and a warning if they are unequal; "" if
    nothing is known.
    """
    texts = [
        f"{name} {cost['graphs']:,.0f} graphs, {cost['cpu_seconds']:,.0f} CPU s"
        for name, cost in result.costs.items()
        if len(cost) == 2
    ]
    warning = unequal_costs(result.costs)
    told = f"Pre-training, mean over seeds: {'; '.join(texts)}" if texts else ""
    return f"{told}. {warning}" if warning else told


def rows(result: FewLabelScores) -> tuple[list[str], list[list[str]]]:
    """Return the titles and cells of the table."""
    titles = ["labels", "updates", "method", "seeds", "test", "difference", "95 % interval", "p", "p (Holm)", "verdict"]
    found, body = contrasts(result), []
    factor, decimals = scale(result.metric)
    for record in summary(result):
        name, size, updates = record["method"], record["labels"], record["updates"]
        test = mean_and_sd(result.metric, record["mean"], record["sd"])
        contrast, cells = found.get((name, size, updates)), ["", "", "", "", "control"]
        if contrast is not None:
            one, limits = contrast.effect, "-"
            if one.low is not None and one.high is not None:
                limits = f"{factor * one.low:+.{decimals}f} to {factor * one.high:+.{decimals}f}"
            difference = f"{factor * one.difference:+.{decimals}f}"
            cells = [difference, limits, p_value(one.p), p_value(contrast.p_holm), verdict(record["gain"], contrast)]
        body.append([str(size), str(updates), name, str(record["seeds"]), test, *cells])
    return titles, body


def verdict(gain: float, contrast: Contrast) -> str:
    """Return the result of a comparison with the control as text."""
    word = "better" if gain > 0 else "worse" if gain < 0 else "same"
    if contrast.p_holm is None:
        return word if gain == 0 else f"{word} (no test possible)"
    return word if contrast.p_holm < SIGNIFICANT else f"{word} (not significant)"


def terminal(result: FewLabelScores) -> str:
    """Return the table for standard output."""
    return "\n".join(filter(None, [text_table(heading(result), *rows(result)), costs(result)]))


def markdown(result: FewLabelScores) -> str:
    """Return the table as Markdown, with notes."""
    parts = [escape_markdown(heading(result)), markdown_table(*rows(result)), escape_markdown(costs(result)), _NOTES]
    return "\n\n".join(filter(None, parts)) + "\n"


def figure(result: FewLabelScores, difference: bool = False) -> Figure:
    """Draw learning curves with bands of 95 % confidence.

    The first row has the score against updates for each number of labels, the second the score against labels for each
    number of updates, where there are several.

    Args:
        result: The scores.
        difference: Draw differences to the control instead of scores.
    """
    sizes, updates = (list(dict.fromkeys(values)) for values in zip(*result.cells, strict=True))
    sheets = [[(f"{size} labels", "updates", [cell for cell in result.cells if cell[0] == size]) for size in sizes]]
    if len(sizes) > 1 and result.config.updates:
        sheets.append(
            [(f"{count} updates", "labels", [cell for cell in result.cells if cell[1] == count]) for count in updates]
        )
    across = max(map(len, sheets))
    drawn = Figure(figsize=(3.6 * across + 0.6, 3.0 * len(sheets) + 0.7), layout="constrained")
    grid = drawn.subplots(len(sheets), across, squeeze=False)
    for line, panels in zip(grid, sheets, strict=True):
        for axes, (title, label, cells) in zip(line, panels, strict=False):
            _curves(axes, result, cells, label, difference)
            axes.set(title=title, xlabel=label)
        line[0].set_ylabel(f"{TITLES[result.metric]}{', minus control' if difference else ''}")
        for axes in line[len(panels) :]:
            axes.set_axis_off()
    handles, names = grid[0, 0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside upper center", ncols=min(len(names), 6), frameon=False)
    return drawn


def _count(result: FewLabelScores, size: Size) -> int:
    return len(result.data.parts["all"]) - round(float(np.mean(result.tested))) if size == "all" else size


def _curves(axes: Axes, result: FewLabelScores, cells: Sequence[Cell], label: str, difference: bool) -> None:
    """Draw every method at ``cells`` against their updates or labels."""
    factor = scale(result.metric)[0]
    x = [float(updates if label == "updates" else _count(result, size)) for size, updates in cells]
    controls = set(result.controls.values())
    for number, name in enumerate(result.methods):
        if difference and name not in result.controls:
            continue
        bands = [_band(result, name, cell, difference) for cell in cells]
        mean, low, high = (factor * np.array(values) for values in zip(*bands, strict=True))
        if result.metric != "rmse" and not difference:
            low, high = low.clip(0, factor), high.clip(0, factor)  # an interval may end beyond the largest score
        style, colour = ("--", "0.35") if name in controls else ("-", f"C{number % 10}")
        axes.plot(x, mean, style, marker="o", markersize=4, color=colour, label=name)
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        if len(x) == 1:
            axes.errorbar(x, mean, yerr=[mean - low, high - mean], color=colour, capsize=3)
    if difference:
        axes.axhline(0, color="0.35", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks(x, [f"{place:.0f}" for place in x])
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def _band(result: FewLabelScores, name: str, cell: Cell, difference: bool) -> tuple[float, float, float]:
    """Return mean and limits of the 95 % interval; the limits are the mean where the interval is undefined."""
    values = result.scores[name, *cell]
    found = interval(values, result.overlap)
    if difference:
        found = effect(values, result.scores[result.controls[name], *cell], result.overlap)
    mean = found.difference
    return mean, mean if found.low is None else found.low, mean if found.high is None else found.high

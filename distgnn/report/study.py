"""Report of a study: few-label evaluations of the same methods on many labelled sets, by set and pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distgnn.finetuning.few_labels import FewLabelScores
from distgnn.labels.resampling import Effect, effect, pooled_effect
from distgnn.labels.scores import holm
from distgnn.report.few_labels import Cell
from distgnn.report.table import markdown_table, p_value, scale

CONTROL, POOLED = "none", "roc_auc"


@dataclass(frozen=True)
class Study:
    """Results of a study.

    Attributes:
        title: Title of the report.
        sets: Scores by name of the labelled set.
        comparisons: Pairs of methods to compare, the second one being the reference.
        refused: Why a method could not be pre-trained, by run.
        failed: Why a set could not be evaluated, by its name.
    """

    title: str
    sets: dict[str, FewLabelScores]
    comparisons: tuple[tuple[str, str], ...]
    refused: dict[str, str]
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All (labels, updates)."""
        return tuple(dict.fromkeys(cell for scores in self.sets.values() for cell in scores.cells))

    def effects(self, pair: tuple[str, str], cell: Cell) -> dict[str, Effect]:
        """Return the gain of a comparison by set; higher is better for every metric."""
        found = {}
        for name, scores in self.sets.items():
            first, second = (scores.scores.get((method, *cell)) for method in pair)
            if first is not None and second is not None:
                sign = 1.0 if scores.higher_is_better else -1.0
                found[name] = effect(sign * first, sign * second, scores.overlap)
        return found

    def pooled_sets(self, pair: tuple[str, str], cell: Cell) -> tuple[str, ...]:
        """Return the names of the sets to pool: scored by ROC-AUC, with both methods and equal numbers of seeds."""
        having = {
            name: tuple(len(scores.scores[method, *cell]) for method in pair)
            for name, scores in self.sets.items()
            if scores.metric == POOLED and all((method, *cell) in scores.scores for method in pair)
        }
        return tuple(having) if len(set(having.values())) == 1 else ()

    def pooled(self, pair: tuple[str, str], cell: Cell) -> Effect | None:
        """Return the mean gain over :meth:`pooled_sets`; None if there are none."""
        having = [self.sets[name] for name in self.pooled_sets(pair, cell)]
        pairs = [(scores.scores[pair[0], *cell], scores.scores[pair[1], *cell]) for scores in having]
        return pooled_effect(pairs, [scores.overlap for scores in having]) if having else None


def records(study: Study) -> list[dict[str, Any]]:
    """Return one record for each comparison, labels and updates: pooled gain, and in how many sets it is beyond 2 se."""
    found = []
    for cell in study.cells:
        for pair in study.comparisons:
            each, pooled = study.effects(pair, cell), study.pooled(pair, cell)
            beyond = [np.sign(one.difference) for one in each.values() if one.se and abs(one.difference) > 2 * one.se]
            found.append(
                {
                    "method": pair[0],
                    "reference": pair[1],
                    "labels": cell[0],
                    "updates": cell[1],
                    "sets": len(each),
                    "sets_pooled": len(study.pooled_sets(pair, cell)),
                    "better": beyond.count(1.0),
                    "worse": beyond.count(-1.0),
                    "positive": sum(one.difference > 0 for one in each.values()),
                    **(pooled or Effect(float("nan")))._asdict(),
                }
            )
    for record, corrected in zip(found, holm([record["p"] for record in found]), strict=True):
        record["p_holm"] = corrected
    return found


def markdown(study: Study) -> str:
    """Return the report as Markdown."""
    titles = ["labels", "updates", "comparison", "sets", "sets pooled", "better by 2 se", "worse by 2 se", "positive"]
    titles += ["pooled gain (AUC x 100)", "95 % interval", "p", "p (Holm)"]
    body = []
    for record in records(study):
        counts = [str(record[name]) for name in ("sets", "sets_pooled", "better", "worse", "positive")]
        gain, limits = "-", "-"
        if not np.isnan(record["difference"]):
            gain = f"{100 * record['difference']:+.2f}"
        if record["low"] is not None:
            limits = f"{100 * record['low']:+.2f} to {100 * record['high']:+.2f}"
        names = f"{record['method']} - {record['reference']}"
        tests = [p_value(record["p"]), p_value(record["p_holm"])]
        body.append([str(record["labels"]), str(record["updates"]), names, *counts, gain, limits, *tests])
    parts = [
        f"# {study.title}",
        markdown_table(titles, body),
        *_not_pooled(study),
        *(_of_cell(study, cell) for cell in study.cells),
    ]
    parts += [f"Refused: {name}: {reason}" for name, reason in study.refused.items()]
    parts += [f"Set not evaluated: {name}: {reason}" for name, reason in study.failed.items()]
    return "\n\n".join(parts) + "\n"


def _not_pooled(study: Study) -> list[str]:
    """Name the sets that are in no pooled gain, and the comparisons without one."""
    cells = [(pair, cell) for cell in study.cells for pair in study.comparisons]
    other = [f"{name} ({scores.metric})" for name, scores in study.sets.items() if scores.metric != POOLED]
    unequal = dict.fromkeys(
        f"{pair[0]} - {pair[1]}"
        for pair, cell in cells
        if not study.pooled_sets(pair, cell)
        and any(study.sets[name].metric == POOLED for name in study.effects(pair, cell))
    )
    lines = [f"Not in the pooled gain, which is of ROC-AUC: {', '.join(other)}."] if other else []
    if unequal:
        lines.append(f"Not pooled, since their sets have different numbers of seeds: {', '.join(unequal)}.")
    return lines


def _of_cell(study: Study, cell: Cell) -> str:
    """Return the gains by set, with standard errors; in bold beyond two of them."""
    body = []
    for pair in study.comparisons:
        each = study.effects(pair, cell)
        body.append([f"{pair[0]} - {pair[1]}", *(_gain(study, name, each.get(name)) for name in study.sets)])
    table = markdown_table(["gain ± se", *study.sets], body)
    return f"## {cell[0]} labels, {cell[1]} updates\n\n{table}"


def _gain(study: Study, name: str, found: Effect | None) -> str:
    if found is None:
        return ""
    factor, decimals = scale(study.sets[name].metric)
    text = f"{factor * found.difference:+.{decimals}f}"
    if found.se is None:
        return text
    text += f" ± {factor * found.se:.{decimals}f}"
    return f"**{text}**" if abs(found.difference) > 2 * found.se else text


def figure(study: Study, cell: Cell) -> Figure:
    """Draw the gain of every comparison by set, and pooled, with 95 % intervals; sets scored by RMSE are left out."""
    names = [*(name for name, scores in study.sets.items() if scores.metric != "rmse"), "pooled"]
    across = min(4, len(study.comparisons))
    down = -(-len(study.comparisons) // across)
    size = 2.6 * across + 1.2, (0.26 * len(names) + 0.9) * down + 0.4
    sheet = Figure(figsize=size, layout="constrained")
    panels = np.ravel(sheet.subplots(down, across, sharey=True, sharex=True, squeeze=False))
    for axes in panels[len(study.comparisons) :]:
        axes.set_axis_off()
    for axes, pair in zip(panels, study.comparisons, strict=False):
        each, pooled = study.effects(pair, cell), study.pooled(pair, cell)
        drawn = {name: one for name, one in each.items() if name in names}
        for name, one in [*drawn.items(), *([("pooled", pooled)] if pooled else [])]:
            _interval(axes, names.index(name), one, "C3" if name == "pooled" else "C0")
        axes.axvline(0, color="0.4", linewidth=0.8)
        axes.set(title=f"{pair[0]} - {pair[1]}", xlabel="gain x 100")
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    sheet.suptitle(f"{cell[0]} labels, {cell[1]} updates, 95 % intervals")
    return sheet


def _interval(axes: Axes, place: int, found: Effect, colour: str) -> None:
    mean = 100 * found.difference
    low, high = (mean if limit is None else 100 * limit for limit in (found.low, found.high))
    axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt="o", color=colour, capsize=3, markersize=4)


def against_control(methods: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the comparisons of all methods with the control."""
    return tuple((method, CONTROL) for method in methods)

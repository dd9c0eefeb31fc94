"""Tables of a comparison of weighting methods (as Tables 2 and 3 of AUX-TS), and its summary as JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

from distgnn.auxiliary.comparison import SIGNIFICANT, Comparison, Contrast, Row
from distgnn.config import TransferConfig, to_json
from distgnn.config.transfer import CONTROL
from distgnn.report.table import markdown_table, scale, text_table

MethodComparison = Comparison[TransferConfig]
_NOTES = f"""Test scores of the epoch that was best in validation: mean ± sample standard deviation over seeds. none = the target
alone. Minus none: mean difference over the same seeds, with its 95 % interval of a paired t-test where there are two seeds or
more. ↓ worse than none, and the interval does not contain 0: negative transfer. * differs from none, p < {SIGNIFICANT} in the same
test, two-sided, after Holm's correction over the cells of the table. Average gain: mean over encoders of the relative difference
to none; positive is better. Seconds: mean wall time of a training, with the pre-training that it starts from."""
_AUTO = """auto = chosen by validation, the same training for all seeds: none from scratch, unless the mean validation score of none
or the method, from scratch or pretrained, is better by more than {margin:g} standard error(s) of the difference (over validation
rows and seeds). Its control is none from scratch, and its seconds are those of all these trainings. Chosen, with the validation
gains over none from scratch ± standard error:"""


_ONE_SEED = """There is one seed: the variance over seeds, which the standard errors should contain, is taken as 0."""


def marks(contrast: Contrast) -> str:
    """Suffix of a score in a table: "*" if the difference is significant, "↓" if it is worse by the 95 % interval."""
    low, high = contrast.interval or (0.0, 0.0)
    worse = contrast.gain < 0 and not low <= 0 <= high
    return ("*" if contrast.significant else "") + (" ↓" if worse else "")


def rows(result: MethodComparison, metric: str) -> tuple[list[str], list[list[str]]]:
    """Cells of the table of one metric.

    Returns:
        The column titles, and one row of cells for each scheme and method.
    """
    encoders = list(dict.fromkeys(row.encoder for row in result.rows))
    contrasts = result.contrasts(metric=metric)
    cells = {row: _cell(result, row, metric, contrasts.get(row)) for row in result.rows}
    body = []
    for scheme, method in dict.fromkeys((row.scheme, row.method) for row in result.rows):
        every = [Row(method, encoder, scheme) for encoder in encoders]
        places = [row for row in every if row in cells]
        gains = [contrasts[row].relative_gain for row in places if row in contrasts]
        gain = f"{100 * np.mean(gains):+.2f} %" if gains else ""
        seconds = np.mean([found.cost for row in places for found in result.of(row)])
        pairs = ((cells.get(row, "diverged"), _difference(result, metric, contrasts.get(row))) for row in every)
        body.append([scheme, method, *chain.from_iterable(pairs), gain, f"{seconds:.1f}"])
    for name, scores in result.references.items():
        factor, decimals = _scale(result, metric)
        body.append(["no encoder", name, *[f"{factor * scores[metric]:.{decimals}f}", ""] * len(encoders), "", ""])
    titles = chain.from_iterable((name, f"{name} minus {CONTROL} [95 %]") for name in encoders)
    return ["scheme", "method", *titles, "average gain", "seconds"], body


def _scale(result: MethodComparison, metric: str) -> tuple[float, int]:
    """Return (factor, decimals) of printed scores."""
    return (1.0, 3) if metric in result.lower_is_better else scale(metric)


def _difference(result: MethodComparison, metric: str, contrast: Contrast | None) -> str:
    """Return the paired difference to the control with its interval; "" for the control."""
    if contrast is None:
        return ""
    factor, decimals = _scale(result, metric)
    bounds = [f"{factor * bound:+.{decimals}f}" for bound in contrast.interval or ()]
    return f"{factor * contrast.difference:+.{decimals}f}" + (f" [{', '.join(bounds)}]" if bounds else "")


def _cell(result: MethodComparison, row: Row, metric: str, contrast: Contrast | None) -> str:
    values = result.values(row, metric=metric)
    factor, decimals = _scale(result, metric)
    text = f"{factor * values.mean():.{decimals}f}"
    text += f" ± {factor * values.std(ddof=1):.{decimals}f}" if len(values) > 1 else ""
    return text if contrast is None else text + marks(contrast)


def _tables(result: MethodComparison) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield (heading, titles, rows) of each metric's table."""
    for metric in result.metrics:
        unit, direction = ("", "lower") if metric in result.lower_is_better else (" x 100", "higher")
        about = f"{result.config.data}: {metric}{unit} ({direction} is better), {len(result.seeds)} seed(s)"
        yield about, *rows(result, metric)


def _notes(result: MethodComparison) -> str:
    tasks = "".join(f"\n- {name}" for name in result.tasks[1:])
    chosen = "".join(f"\n- {_choice(result, row)}" for row in result.gains)
    alone = f"\n\n{_ONE_SEED}" if len(result.seeds) == 1 else ""
    auto = f"\n\n{_AUTO.format(margin=result.config.auto_margin)}\n{chosen}{alone}" if chosen else ""
    diverged = "".join(f"\n- {line}" for line in _diverged(result))
    left_out = f"\n\nLeft out, since trainings of them diverged:\n{diverged}" if diverged else ""
    return f"{_NOTES}{auto}{left_out}\n\nAuxiliary tasks:\n{tasks}"


def _diverged(result: MethodComparison) -> Iterator[str]:
    """Yield a line for each row that is left out, with the reason of its first seed that diverged."""
    for row, reasons in result.diverged.items():
        seed, reason = next(iter(reasons.items()))
        yield f"{row.method}, {row.encoder}, {row.scheme}: {len(reasons)} of {len(result.seeds)} seed(s), such as {seed} ({reason})"


def _choice(result: MethodComparison, row: Row) -> str:
    """Return which training was chosen for a row of scheme auto, and the validation gains of all candidates."""
    factor, decimals = _scale(result, result.metric)
    gains = [
        f"{gain.training} {factor * gain.value:+.{decimals}f} ± {factor * gain.se:.{decimals}f}"
        for gain in result.gains[row][1:]
    ]
    return f"{row.method}, {row.encoder}: {result.of(row)[0].chosen} (of " + "; ".join(gains) + ")"


def terminal(result: MethodComparison) -> str:
    """Tables for standard output."""
    return "\n\n".join([*(text_table(*table) for table in _tables(result)), _notes(result)])


def markdown(result: MethodComparison) -> str:
    """Tables as Markdown."""
    tables = [f"{title}\n\n{markdown_table(titles, body)}" for title, titles, body in _tables(result)]
    return "\n\n".join([*tables, _notes(result)]) + "\n"


def transfer_summary(result: MethodComparison) -> dict[str, Any]:
    """The comparison as JSON values: all cells of the tables, and all jobs."""
    return {
        "config": to_json(result.config),
        "tasks": list(result.tasks),
        "metrics": list(result.metrics),
        "lower_is_better": sorted(result.lower_is_better),
        "encoders": list(dict.fromkeys(row.encoder for row in result.rows)),
        "references": result.references,
        "cells": [cell for metric in result.metrics for cell in _cells(result, metric)],
        "summary": result.summary(),
        "diverged": [
            {**row._asdict(), "seed": seed, "reason": reason}
            for row, reasons in result.diverged.items()
            for seed, reason in reasons.items()
        ],
        "choices": [_chosen(result, row) for row in result.gains],
        "runs": [_run(result, row, seed) for row, seed in result.results],
    }


def _cells(result: MethodComparison, metric: str) -> Iterator[dict[str, Any]]:
    contrasts = result.contrasts(metric=metric)
    for row in result.rows:
        values, found = result.values(row, metric=metric), contrasts.get(row)
        compared = {"gain": found.relative_gain, "p_value": found.p, "p_holm": found.p_holm} if found else {}
        place = {"scheme": row.scheme, "encoder": row.encoder, "method": row.method, "metric": metric}
        yield {**place, "scores": values.tolist(), "mean": float(values.mean()), **compared}


def _chosen(result: MethodComparison, row: Row) -> dict[str, Any]:
    place = {"encoder": row.encoder, "method": row.method, "chosen": result.of(row)[0].chosen}
    return {**place, "validation_gains": [gain._asdict() for gain in result.gains[row]]}


def _run(result: MethodComparison, row: Row, seed: int) -> dict[str, Any]:
    found = result.results[row, seed]
    place = {"scheme": row.scheme, "encoder": row.encoder, "method": row.method, "seed": seed}
    reached = {"best_epoch": found.best_epoch, "seconds": round(found.cost, 3), "test": found.scores["test"]}
    chosen = {"chosen": found.chosen} if found.chosen else {}
    return {**place, **reached, **chosen, "validation": list(found.validation)}

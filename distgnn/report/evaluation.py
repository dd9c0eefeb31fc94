"""Table and figure of an evaluation of fine-tuned models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from distgnn.finetuning.evaluate import Evaluation
from distgnn.finetuning.results import scored_on
from distgnn.labels.scores import HIGHER_IS_BETTER
from distgnn.report.table import TITLES, scale, spread, task_of, text_table


def summary(result: Evaluation, uris: Sequence[str]) -> dict[str, Any]:
    """The evaluation of the models at ``uris`` as JSON values."""
    return scored_on(result.config, result.data, result.metric) | {
        "models": [
            {
                "model": uri,
                "method": model.method,
                "seed": model.seed,
                "scores": {part: found._asdict() for part, found in model.scores.items()},
            }
            for uri, model in zip(uris, result.models, strict=True)
        ],
    }


def terminal(result: Evaluation) -> str:
    """Table for standard output: mean and standard deviation over the seeds of each method."""
    data, direction = result.data, "higher" if HIGHER_IS_BETTER[result.metric] else "lower"
    sizes = ", ".join(f"{part} {len(rows)}" for part, rows in data.parts.items())
    title = f"{result.config.corpus} ({sizes}): {task_of(data)}, {TITLES[result.metric]} ({direction} is better)"
    body = []
    for method in dict.fromkeys(model.method for model in result.models):
        runs = [model for model in result.models if model.method == method]
        cells = [spread(result.metric, np.array([run.scores[part].value for run in runs])) for part in data.parts]
        coverage = min(run.scores[part].coverage for run in runs for part in data.parts)
        body.append([method, str(len(runs)), *cells, f"{100 * coverage:.0f} %"])
    return text_table(title, ["method", "seeds", *data.parts, "coverage"], body)


def figure(result: Evaluation) -> Figure:
    """Figure with one panel per part: the score of every model, grouped by method."""
    parts, methods = list(result.data.parts), list(dict.fromkeys(model.method for model in result.models))
    sheet = Figure(figsize=(4.5 * len(parts) + 1.5, 1.2 + 0.45 * len(methods)), layout="constrained")
    factor = scale(result.metric)[0]
    panels = np.ravel(sheet.subplots(1, len(parts), sharey=True))
    for axes, part in zip(panels, parts, strict=True):
        for model in result.models:
            place = methods.index(model.method)
            axes.plot(factor * model.scores[part].value, place, "o", color=f"C{place % 10}", alpha=0.7)
        axes.set_yticks(range(len(methods)), methods)
        axes.set(xlabel=TITLES[result.metric], title=part)
        axes.grid(axis="x", alpha=0.3)
    panels[0].invert_yaxis()
    return sheet

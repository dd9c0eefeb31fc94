"""Interactive forms of the figures of a sweep's progress: scores of the trials in order, and their learning curves."""

from __future__ import annotations

from typing import Any

import pandas as pd

from distgnn.report.charts import Titles, line_spec, progress_spec
from distgnn.report.sweep import texts
from distgnn.report.sweep.data import View, scored
from distgnn.report.sweep.figures import score_label


def progress_specs(view: View) -> dict[str, dict[str, Any]]:
    """Return Vega-Lite specifications by the name of the picture that they replace; curves of trials with clones have none."""
    factor, found = texts.scale(view)[0], {}
    done = sorted(scored(view), key=lambda trial: trial.number)
    if done:
        table = pd.DataFrame(
            {"x": [trial.number for trial in done], "y": [factor * (trial.score or 0.0) for trial in done]}
        )
        best = table["y"].cummax() if view.higher_is_better else table["y"].cummin()
        titles = Titles("", "", "trial", score_label(view))
        found["progress"] = progress_spec(table.assign(best=best), titles)
    rungs = [
        {"x": rung.fidelity, "y": factor * rung.score, "line": f"trial {trial.number}"}
        for trial in sorted(view.trials, key=lambda trial: trial.number)
        if trial.state != "failed"
        for rung in trial.rungs
    ]
    if rungs and not any(trial.clones for trial in view.trials):
        found["rungs"] = line_spec(pd.DataFrame(rungs), Titles("", "", view.sweep.axis, score_label(view)), points=True)
    return found

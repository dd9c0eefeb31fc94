"""Formatting of scores, parameter values and durations of a sweep."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from distgnn.report.sweep.data import View, leader
from distgnn.search.domains import Value
from distgnn.search.records import ENDED, TrialRecord
from distgnn.search.sweep import searcher_of


def scale(view: View) -> tuple[float, int]:
    """Return (factor, decimals) of printed scores: metrics to maximize lie in 0..1 and are printed times 100."""
    return (100.0, 2) if view.higher_is_better else (1.0, 3)


def metric(view: View) -> str:
    """Return the metric with its factor and direction."""
    return (
        f"{view.sweep.metric} x 100 (higher is better)"
        if view.higher_is_better
        else f"{view.sweep.metric} (lower is better)"
    )


def score(view: View, value: float | None) -> str:
    """Format a score; a dash for None or a value that is not finite."""
    factor, decimals = scale(view)
    return "-" if value is None or not np.isfinite(value) else f"{factor * value:.{decimals}f}"


def spread(view: View, values: Sequence[float]) -> str:
    """Format the mean and, of two or more values, the sample standard deviation."""
    text = score(view, float(np.mean(values)))
    return text if len(values) < 2 else f"{text} ± {score(view, float(np.std(values, ddof=1)))}"


def setting(value: Value | None) -> str:
    """Format a parameter value, floats with three significant digits."""
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def settings(view: View, trial: TrialRecord) -> str:
    """Format all parameters of a trial on one line."""
    return " ".join(f"{name}={setting(trial.params.get(field))}" for field, name in short(view, 1).items())


def seconds(value: float) -> str:
    """Format a duration: seconds below two minutes, h:mm:ss above."""
    return f"{value:.1f} s" if value < 120 else str(timedelta(seconds=round(value)))


def short(view: View, parts: int = 2) -> dict[str, str]:
    """Return short field names: the last ``parts`` components, or the full name where that would be ambiguous."""
    ends = {name: ".".join(name.split(".")[-parts:]) for name in view.space}
    shared = Counter(ends.values())
    return {name: end if shared[end] == 1 else name for name, end in ends.items()}


def about(view: View) -> str:
    """Return one line: kind of trial and data, searcher, scheduler, budget, seed and start."""
    config = view.sweep.config
    data = {"pretrain": f"pre-train on {config.pretrain.corpus}, fine-tune on {config.finetune.corpus}",
            "finetune": f"fine-tune {' '.join(config.finetune.checkpoint)} on {config.finetune.corpus}",
            "transfer": f"transfer on {config.transfer.data}"}[view.sweep.kind]  # fmt: skip
    began = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(view.sweep.started))
    how = f"searcher {searcher_of(config)}, scheduler {config.scheduler}, {view.sweep.budget} {view.sweep.axis} a trial"
    return f"{data}; {how}; seed {config.seed}; started {began}"


def verdicts(view: View) -> list[str]:
    """Say in words how far the sweep is, which trial is best, and how its winner does on test data beside the default."""
    counts = Counter(trial.state for trial in view.trials)
    ended, planned = sum(counts[state] for state in ENDED), max(view.sweep.trials, len(view.trials))
    told = ", ".join(f"{counts[state]} {state}" for state in ("finished", "stopped", "failed") if counts[state])
    found = [f"{ended} of {planned} trials have ended{f' ({told})' if told else ''}."]
    best = leader(view)
    if best is not None:
        found.append(
            f"Trial {best.number} is best in validation: {score(view, best.score)} in {metric(view)}, with {settings(view, best)}."
        )
    return found


def standing(view: View) -> str:
    """Return one line: ended trials, trials by state, and the best score."""
    counts = Counter(trial.state for trial in view.trials)
    ended = sum(counts[state] for state in ENDED)
    parts = [f"{ended}/{max(view.sweep.trials, len(view.trials))} trials ended"]
    parts += [f"{counts[state]} {state}" for state in ("finished", "stopped", "failed", "running") if counts[state]]
    best = leader(view)
    if best is not None:
        parts.append(f"best {score(view, best.score)} (trial {best.number})")
    return " | ".join(parts)

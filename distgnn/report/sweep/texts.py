"""How scores, values and durations of a sweep are printed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from distgnn.report.sweep.data import View
from distgnn.report.sweep.numbers import leader
from distgnn.search.domains import Value
from distgnn.search.records import ENDED, TrialRecord
from distgnn.search.sweep import searcher_of


def scale(view: View) -> tuple[float, int]:
    """(factor, decimals) of printed scores: what is better when higher lies between 0 and 1 and is told x 100."""
    return (100.0, 2) if view.higher_is_better else (1.0, 3)


def metric(view: View) -> str:
    """The metric with its factor and its direction."""
    return (
        f"{view.sweep.metric} x 100 (higher is better)"
        if view.higher_is_better
        else f"{view.sweep.metric} (lower is better)"
    )


def score(view: View, value: float | None) -> str:
    """A score, or a dash."""
    factor, decimals = scale(view)
    return "-" if value is None or not np.isfinite(value) else f"{factor * value:.{decimals}f}"


def spread(view: View, values: Sequence[float]) -> str:
    """Mean and, of two or more, sample deviation."""
    text = score(view, float(np.mean(values)))
    return text if len(values) < 2 else f"{text} ± {score(view, float(np.std(values, ddof=1)))}"


def setting(value: Value | None) -> str:
    """A parameter's value, numbers with three digits that count."""
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def settings(view: View, trial: TrialRecord) -> str:
    """All parameters of a trial in one text."""
    return " ".join(f"{name}={setting(trial.params.get(field))}" for field, name in short(view, 1).items())


def seconds(value: float) -> str:
    """Seconds below two minutes, h:mm:ss above."""
    return f"{value:.1f} s" if value < 120 else str(timedelta(seconds=round(value)))


def short(view: View, parts: int = 2) -> dict[str, str]:
    """What a field is called where there is little room: its last names, so many of them, where that is no other field's."""
    ends = {name: ".".join(name.split(".")[-parts:]) for name in view.space}
    shared = Counter(ends.values())
    return {name: end if shared[end] == 1 else name for name, end in ends.items()}


def about(view: View) -> str:
    """One line: what a trial is, on which data, who proposes and who stops, what is searched and when that began."""
    config = view.sweep.config
    data = {"pretrain": f"pre-train on {config.pretrain.corpus}, fine-tune on {config.finetune.corpus}",
            "finetune": f"fine-tune {' '.join(config.finetune.checkpoint)} on {config.finetune.corpus}",
            "transfer": f"transfer on {config.transfer.data}"}[view.sweep.kind]  # fmt: skip
    began = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(view.sweep.started))
    how = f"searcher {searcher_of(config)}, scheduler {config.scheduler}, {view.sweep.budget} {view.sweep.axis} a trial"
    return f"{data}; {how}; seed {config.seed}; begun {began}"


def standing(view: View) -> str:
    """One line: how many trials have ended and how, how many are at work, who leads, since when."""
    counts = Counter(trial.state for trial in view.trials)
    ended = sum(counts[state] for state in ENDED)
    parts = [f"{ended}/{max(view.sweep.trials, len(view.trials))} trials ended"]
    parts += [f"{counts[state]} {state}" for state in ("finished", "stopped", "failed", "running") if counts[state]]
    best = leader(view)
    if best is not None:
        parts.append(f"best {score(view, best.score)} (trial {best.number})")
    return " | ".join(parts)

"""The table of a comparison of weighting methods (as Tables 2 and 3 of AUX-TS), and the same as plain JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distgnn.auxiliary.comparison import Comparison
from distgnn.config import to_json
from distgnn.config.transfer import CONTROL
from distgnn.labels.scores import paired_p_value
from distgnn.report.table import SIGNIFICANT, drawn, piped

_NOTES = """Test scores of the epoch that was best in validation: mean ± sample deviation over seeds. none = the target alone.
↓ worse than none: negative transfer. * differs from none, p < 0.05 in a two-sided paired t-test over seeds. Average gain: mean
over encoders of the relative difference to none; positive is better."""


@dataclass(frozen=True)
class Against:
    """A method against the control of its scheme and encoder over the same seeds.

    gain: relative difference of means, with the sign that makes better positive. p_value: None where no test is possible.
    """

    gain: float
    p_value: float | None

    @property
    def marks(self) -> str:
        """What the table shows beside the score."""
        clear = self.p_value is not None and self.p_value < SIGNIFICANT
        return ("*" if clear else "") + (" ↓" if self.gain < 0 else "")


def scores_on_test(result: Comparison, scheme: str, encoder: int, method: str, metric: str) -> npt.NDArray[np.float64]:
    """The metric on the test part for each seed, in seed order."""
    return np.array([fitted.test[metric] for fitted in result.of(scheme, encoder, method)])


def against_control(result: Comparison, scheme: str, encoder: int, method: str, metric: str) -> Against:
    """``method`` against the target alone."""
    ours, control = (scores_on_test(result, scheme, encoder, name, metric) for name in (method, CONTROL))
    sign = -1.0 if metric in result.lower else 1.0
    difference = sign * float(ours.mean() - control.mean())
    return Against(difference / abs(float(control.mean())) if difference else 0.0, paired_p_value(ours, control))


def rows(result: Comparison, metric: str) -> tuple[list[str], list[list[str]]]:
    """(titles, a row of cells for each scheme and method)."""
    body = []
    for scheme in result.config.schemes:
        for method in result.config.compared:
            cells = [_cell(result, scheme, encoder, method, metric) for encoder in range(len(result.encoders))]
            body.append([scheme, method, *cells, _average_gain(result, scheme, method, metric)])
    return ["scheme", "method", *result.encoders, "average gain"], body


def _cell(result: Comparison, scheme: str, encoder: int, method: str, metric: str) -> str:
    scores = scores_on_test(result, scheme, encoder, method, metric)
    factor, decimals = (1.0, 3) if metric in result.lower else (100.0, 2)
    text = f"{factor * scores.mean():.{decimals}f}"
    text += f" ± {factor * scores.std(ddof=1):.{decimals}f}" if len(scores) > 1 else ""
    return text if method == CONTROL else text + against_control(result, scheme, encoder, method, metric).marks


def _average_gain(result: Comparison, scheme: str, method: str, metric: str) -> str:
    if method == CONTROL:
        return ""
    places = range(len(result.encoders))
    return f"{100 * np.mean([against_control(result, scheme, place, method, metric).gain for place in places]):+.2f} %"


def _titled(result: Comparison) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """(heading, titles, rows) of each metric's table."""
    first = next(iter(result.fitted.values()))
    for metric in first.metrics:
        unit, direction = ("", "lower") if metric in result.lower else (" x 100", "higher")
        about = f"{result.config.data}: {metric}{unit} ({direction} is better), {result.config.seeds} seed(s)"
        yield about, *rows(result, metric)


def _notes(result: Comparison) -> str:
    tasks = "".join(f"\n- {name}" for name in next(iter(result.fitted.values())).names[1:])
    return f"{_NOTES}\n\nAuxiliary tasks:\n{tasks}"


def terminal(result: Comparison) -> str:
    """The tables drawn for standard output."""
    return "\n\n".join([*(drawn(*table) for table in _titled(result)), _notes(result)])


def markdown(result: Comparison) -> str:
    """The same tables as Markdown text."""
    tables = [f"{title}\n\n{piped(titles, body)}" for title, titles, body in _titled(result)]
    return "\n\n".join([*tables, _notes(result)]) + "\n"


def transfer_summary(result: Comparison) -> dict[str, Any]:
    """The comparison as plain JSON values: every cell of the tables, and every job."""
    first = next(iter(result.fitted.values()))
    return {
        "config": to_json(result.config),
        "tasks": list(first.names),
        "metrics": list(first.metrics),
        "lower_is_better": sorted(result.lower),
        "encoders": list(result.encoders),
        "cells": [cell for metric in first.metrics for cell in _cells(result, metric)],
        "runs": [_run(result, job) for job in result.fitted],
    }


def _cells(result: Comparison, metric: str) -> Iterator[dict[str, Any]]:
    for scheme in result.config.schemes:
        for place, encoder in enumerate(result.encoders):
            for method in result.config.compared:
                scores = scores_on_test(result, scheme, place, method, metric)
                found = against_control(result, scheme, place, method, metric)
                compared = {} if method == CONTROL else {"gain": found.gain, "p_value": found.p_value}
                cell = {
                    "scheme": scheme,
                    "encoder": encoder,
                    "method": method,
                    "metric": metric,
                    "scores": scores.tolist(),
                }
                yield {**cell, "mean": float(scores.mean()), **compared}


def _run(result: Comparison, job: Any) -> dict[str, Any]:
    fitted = result.fitted[job]
    place = {"scheme": job.scheme, "encoder": result.encoders[job.encoder], "method": job.method, "seed": job.seed}
    found = {"best_epoch": fitted.best_epoch, "seconds": round(fitted.seconds, 3), "test": fitted.test}
    return {**place, **found, "validation": list(fitted.validation)}

"""Check of the first steps of a run: the objective may find from its metrics that its options do not work."""

from __future__ import annotations

import warnings
from collections import defaultdict

from distgnn.objectives.base import Objective
from distgnn.pretraining.step import StepResult

STEPS = 50
"""Number of steps whose metrics are averaged."""


class StartCheck:
    """Averages the metrics of the first steps of a process, then warns once if the objective advises a change."""

    def __init__(self, objective: Objective) -> None:
        self._objective, self._steps = objective, 0
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, result: StepResult) -> None:
        """Add a step; the warning follows the last one."""
        if self._steps >= STEPS:
            return
        self._steps += 1
        for name, values in result.sums.items():
            self._sums[name] = [a + b for a, b in zip(self._sums[name], values, strict=True)]
        if self._steps == STEPS:
            advice = self._objective.advice({name: a / b for name, (a, b) in self._sums.items() if b})
            if advice:
                warnings.warn(f"mean of the first {STEPS} steps: {advice}", RuntimeWarning, stacklevel=2)

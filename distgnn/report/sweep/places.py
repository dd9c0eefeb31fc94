"""Where a parameter's values lie on an axis of a figure, from 0 to 1, and which of them are written there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from distgnn.report.sweep import texts
from distgnn.report.sweep.data import few_points
from distgnn.search.domains import Choice, Range, Value

_TICKS = 5


class Places:
    """Values that are few stand in their order at equal distances, others as numbers do, on a log scale where the space has one."""

    def __init__(self, domain: Range | Choice) -> None:
        self.choices = few_points(domain)
        self._log = isinstance(domain, Range) and domain.log
        ends = () if self.choices else domain.ends()
        self._low, self._high = [self._number(float(end)) for end in ends] or (0.0, 1.0)

    def _number(self, value: float) -> float:
        """0, which some defaults are, lies left of every log scale."""
        if not self._log:
            return value
        return math.log10(value) if value > 0 else -math.inf

    def of(self, values: Sequence[Value]) -> npt.NDArray[np.float64]:
        """[n] places of ``values``."""
        if self.choices:
            spots = np.array([self._spot(value) for value in values], dtype=np.float64)
            return (spots + 0.5) / len(self.choices)
        numbers = np.array([self._number(float(value)) for value in values], dtype=np.float64)
        return (numbers - self._low) / ((self._high - self._low) or 1.0)

    def _spot(self, value: Value) -> int:
        """Of a choice; of a number the nearest, since steps may differ in the last bit."""
        if value in self.choices or isinstance(value, str):
            return self.choices.index(value)
        return int(np.argmin([abs(float(choice) - value) for choice in self.choices]))

    def ticks(self) -> list[tuple[float, str]]:
        """(place, text) of every choice, or of a few numbers."""
        if self.choices:
            return list(zip(self.of(self.choices).tolist(), map(texts.setting, self.choices), strict=True))
        numbers = self._whole_powers() if self._log else np.linspace(self._low, self._high, _TICKS)
        places = (numbers - self._low) / ((self._high - self._low) or 1.0)
        values = 10.0**numbers if self._log else numbers
        return [(float(place), f"{value:.3g}") for place, value in zip(places, values, strict=True)]

    def _whole_powers(self) -> npt.NDArray[np.float64]:
        """Exponents of the powers of ten in the range; its ends where it has fewer than two."""
        found = np.arange(math.ceil(self._low - 1e-9), math.floor(self._high + 1e-9) + 1, dtype=np.float64)
        return found if len(found) > 1 else np.array([self._low, self._high])

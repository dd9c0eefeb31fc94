"""Random points of a search space, and the exploration of population-based training."""

from __future__ import annotations

from typing import cast

import numpy as np

from distgnn.graph.keyed import draw, key, unit_interval
from distgnn.graph.purposes import SearchDraw
from distgnn.search.domains import Choice, Range, Value
from distgnn.search.space import Params, Space

_RESAMPLE, _FACTORS = 0.25, (0.8, 1.2)


def drawn(space: Space, at: int) -> Params:
    """A point of ``space``, every field evenly (in the logarithm where it says so); a function of the key ``at``."""
    shares = unit_interval(draw(at, np.arange(len(space))))
    return {dotted: _place(domain, float(share)) for (dotted, domain), share in zip(space.items(), shares, strict=True)}


def explored(space: Space, params: Params, *parts: int) -> Params:
    """PBT's exploration (Jaderberg et al., 2017): each value drawn anew with probability 1/4, else a number times 0.8 or 1.2 (kept
    within its range; at least a step further where it has steps) and a choice as it is; a function of the numbers ``parts``."""
    at = key(SearchDraw.EXPLORE, *parts)
    anew, words = (
        drawn(space, key(at, SearchDraw.ANEW)),
        unit_interval(draw(at, np.arange(2 * len(space)))).reshape(-1, 2),
    )
    return {
        dotted: anew[dotted] if renew < _RESAMPLE else _moved(domain, params[dotted], up >= 0.5)
        for (dotted, domain), (renew, up) in zip(space.items(), words, strict=True)
    }


def _moved(domain: Range | Choice, value: Value, up: bool) -> Value:
    if isinstance(domain, Choice) or isinstance(value, str):
        return value
    points = domain.points()
    if points:
        place = points.index(value) + (1 if up else -1)
        return points[min(max(place, 0), len(points) - 1)]
    return domain.number(min(max(value * _FACTORS[int(up)], domain.low), domain.high))


def _place(domain: Range | Choice, share: float) -> Value:
    points = domain.points()
    if points:
        return points[int(share * len(points))]
    if isinstance(domain, Range) and domain.log:
        spread = 0.5 if domain.kind == "int" else 0.0  # the ends of whole numbers get as much room as the others
        low, high = np.log(domain.low - spread), np.log(domain.high + spread)
        return domain.number(min(max(float(np.exp(low + share * (high - low))), domain.low), domain.high))
    low, high = cast(Range, domain).low, cast(Range, domain).high
    return low + share * (high - low)

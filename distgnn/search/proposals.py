"""Random sampling from a search space, and the exploration step of population-based training."""

from __future__ import annotations

from typing import cast

import numpy as np

from distgnn.graph.keyed import draw, key, unit_interval
from distgnn.graph.purposes import SearchDraw
from distgnn.search.domains import Choice, Range, Value
from distgnn.search.space import Params, Space

_RESAMPLE, _FACTORS = 0.25, (0.8, 1.2)


def sample_params(space: Space, key: int) -> Params:
    """Sample a point of ``space``; a pure function of ``key``.

    Each field is sampled independently and uniformly (log-uniformly for logarithmic ranges).
    """
    shares = unit_interval(draw(key, np.arange(len(space))))
    return {
        dotted: _value_at(domain, float(share)) for (dotted, domain), share in zip(space.items(), shares, strict=True)
    }


def explore(space: Space, params: Params, *parts: int) -> Params:
    """Exploration step of population-based training (Jaderberg et al., 2017); a pure function of ``parts``.

    Each value is resampled with probability 1/4. Otherwise a number is multiplied by 0.8 or 1.2 and clipped to its range (moved
    by one step in a discrete range), and a choice is kept.

    Args:
        space: The search space.
        params: The parameters to perturb.
        parts: Integers from which the random key is derived.
    """
    step_key = key(SearchDraw.EXPLORE, *parts)
    resampled, numbers = (
        sample_params(space, key(step_key, SearchDraw.ANEW)),
        unit_interval(draw(step_key, np.arange(2 * len(space)))).reshape(-1, 2),
    )
    return {
        dotted: resampled[dotted] if share < _RESAMPLE else _perturbed(domain, params[dotted], up >= 0.5)
        for (dotted, domain), (share, up) in zip(space.items(), numbers, strict=True)
    }


def _perturbed(domain: Range | Choice, value: Value, up: bool) -> Value:
    if isinstance(domain, Choice) or isinstance(value, str):
        return value
    points = domain.points()
    if points:
        place = points.index(value) + (1 if up else -1)
        return points[min(max(place, 0), len(points) - 1)]
    return domain.number(min(max(value * _FACTORS[int(up)], domain.low), domain.high))


def _value_at(domain: Range | Choice, share: float) -> Value:
    """Return the value at ``share`` (0 to 1) of the domain's distribution."""
    points = domain.points()
    if points:
        return points[int(share * len(points))]
    if isinstance(domain, Range) and domain.log:
        spread = 0.5 if domain.kind == "int" else 0.0  # integers at the bounds are as likely as the others
        low, high = np.log(domain.low - spread), np.log(domain.high + spread)
        return domain.number(min(max(float(np.exp(low + share * (high - low))), domain.low), domain.high))
    low, high = cast(Range, domain).low, cast(Range, domain).high
    return low + share * (high - low)

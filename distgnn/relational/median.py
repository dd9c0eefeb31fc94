"""Conditional medians of numbers, which minimise the absolute error, from predictions that are conditional means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
_BANDWIDTH, _ROWS, _RATE = 0.4, 64, 0.25  # chosen on validation rows, see docs/results/databases.md
_CHUNK = 1024


def conditional_median(values: Float, left_out: Float, labels: Float) -> Float:
    """Add to each prediction the median of the residuals of the context rows with a similar prediction.

    Context rows are weighted by a Gaussian kernel of the distance between predictions; its bandwidth is 0.4 standard deviations
    of the labels at 64 rows, and falls with the fourth root of the number of rows.

    Args:
        values: [queries], conditional means.
        left_out: [context], the same for the context rows, each without its own label.
        labels: [context].

    Returns:
        [queries], within the range of the labels; ``values`` without context.
    """
    if not labels.size:
        return values
    residuals = labels - left_out
    order = np.argsort(residuals, kind="stable")
    width = max(float(labels.std()), 1e-6) * _BANDWIDTH * (_ROWS / labels.size) ** _RATE
    places = left_out[order] / width
    parts = [values[low : low + _CHUNK] for low in range(0, values.size, _CHUNK)]
    medians = [residuals[order][_medians(part / width, places)] for part in parts]
    shifted = values + np.concatenate(medians) if parts else values
    return np.clip(shifted, labels.min(), labels.max())


def _medians(values: Float, places: Float) -> npt.NDArray[np.int64]:
    """Index of the weighted median among sorted context rows for each prediction."""
    distance = np.square(values[:, None] - places)
    weights = np.exp(-0.5 * (distance - distance.min(1, keepdims=True)))  # the nearest row has weight 1
    total = weights.cumsum(1)
    return (total >= total[:, -1:] / 2).argmax(1)

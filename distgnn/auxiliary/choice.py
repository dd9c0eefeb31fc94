"""Choice among trainings by validation, with the standard error of the differences.

The rule is the one-standard-error rule of Breiman et al. ("Classification and regression trees", 1984, section 3.4.3), with the
target alone from scratch as the simplest model: another training is taken only if its validation score is better by more than
``margin`` standard errors of the difference. Of several, the one with the largest gain less ``margin`` standard errors is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distgnn.auxiliary.trainer import TrainingResult
from distgnn.labels.influence import standard_error


class Gain(NamedTuple):
    """Validation gain of a training over the control.

    Attributes:
        training: The training: its method and scheme.
        value: Mean difference of the validation scores over seeds; positive is better.
        se: Its standard error.
    """

    training: str
    value: float
    se: float

    def beyond(self, margin: float) -> float:
        """Return the gain less ``margin`` standard errors."""
        return self.value - margin * self.se


def validation_gain(
    training: str, found: Sequence[TrainingResult], control: Sequence[TrainingResult], sign: int, same_rows: bool
) -> Gain:
    """Compare two trainings over the same seeds.

    Two variances are added: that of the mean over seeds, with two seeds or more, and that of the sample of validation rows,
    from the influences of the rows on the difference. The latter does not shrink with the number of seeds where the
    trainings of all seeds err on the same rows.

    Args:
        training: Name of the training.
        found: Its results, seed by seed.
        control: The results of the control.
        sign: 1 if higher scores are better, -1 if lower ones are.
        same_rows: Whether all seeds have the same validation rows.
    """
    metric = found[0].metrics[0]
    differences = np.array(
        [
            sign * (one.scores["val"][metric] - other.scores["val"][metric])
            for one, other in zip(found, control, strict=True)
        ]
    )
    influence = np.stack(
        [one.influence.astype(np.float64) - other.influence for one, other in zip(found, control, strict=True)]
    )
    seeds = differences.var(ddof=1) / len(differences) if len(differences) > 1 else 0.0
    return Gain(training, float(differences.mean()), float((seeds + _row_variance(influence, same_rows)) ** 0.5))


def _row_variance(influence: npt.NDArray[np.float64], same_rows: bool) -> float:
    """Return the variance of the mean over seeds that is due to the sample of rows; influence: [seeds, rows].

    Where the seeds have different rows, of the same data, it is bounded by the mean of the variances.
    """
    if same_rows:
        return standard_error(influence.mean(axis=0)) ** 2
    return float(np.mean([standard_error(row) ** 2 for row in influence]))

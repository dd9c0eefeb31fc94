"""One forward pass of a multi-task step, and the rows to be weighted that are derived from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from distgnn.auxiliary.hypergradient import WeightedGradients, derivatives
from distgnn.auxiliary.problem import MultiTaskProblem
from distgnn.auxiliary.sample_gradients import WeightedSampleGradients
from distgnn.auxiliary.task_gradients import Layout, TaskGradients, Totals, WeightedTaskGradients, local_totals
from distgnn.auxiliary.weighting import Weighting
from distgnn.distributed import ProcessGroup


class ForwardPass:
    """Losses of a batch at the current parameters, summed over ranks, with gradients per task if needed.

    Gradients are computed per task if the weighting method reads them, if the hypergradient is a dot product with them, or
    if tasks have moments of their own.

    Attributes:
        by_layer: Whether cosines are averaged over layers.
        per_task: Whether gradients per task are needed for the step of the model.
        target, auxiliary: Samples of this rank.
    """

    def __init__(
        self,
        problem: MultiTaskProblem,
        batch: Any,
        weighting: Weighting,
        layout: Layout,
        group: ProcessGroup,
        by_layer: bool,
        per_task: bool = False,
    ) -> None:
        self.batch, self._weighting, self._layout, self._group = batch, weighting, layout, group
        self.target, self.auxiliary = problem.losses(batch)
        self._derivative = partial(derivatives, problem, batch, layout)
        self._gradients: TaskGradients | None = None
        if weighting.reads != "losses" or per_task or (weighting.learns == "meta" and not weighting.per_sample):
            self._gradients = TaskGradients(self.target, self.auxiliary, layout, group, by_layer)
            self.totals = self._gradients.totals
        else:
            sums = group.all_reduce(local_totals(self.target, self.auxiliary))
            self.totals = Totals(*sums, parts=len(self.target))

    def weighted(self, parts: Sequence[int]) -> WeightedGradients:
        """Return the rows to be weighted, with only the folds ``parts`` of the target's samples."""
        if self._gradients is not None and not self._weighting.per_sample:
            return WeightedTaskGradients(self._gradients, parts, self._weighting.reads == "gradients")
        shares = self.totals.shares(parts)
        known = self._gradients.cosines(shares) if self._gradients else shares.new_full(shares.shape[:1], math.nan)
        return WeightedSampleGradients(
            self.target,
            [] if self._weighting.alone else self.auxiliary,
            self.totals,
            parts,
            cosines=known,
            layout=self._layout,
            group=self._group,
            per_sample=self._weighting.per_sample,
            derivative=self._derivative,
        )

"""Weighting of single samples, and of tasks without separate gradients, by one backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from distgnn.auxiliary.problem import Samples
from distgnn.auxiliary.task_gradients import Layout, Totals, flat_gradient
from distgnn.auxiliary.weighting.signals import Signals
from distgnn.distributed import ProcessGroup

Derivative = Callable[[Tensor], list[Tensor]]
"""Maps a flat direction of the target's parameters to directional derivatives of all losses.

Those of the target's folds come first, then those of the auxiliary tasks.
"""


class WeightedSampleGradients:
    """R rows of this rank: one per sample, or one per task for losses that cannot be split or without ``per_sample``.

    A weighted gradient costs one backward pass. The weighted sum over rows, sum_r w_r l_r / n_r, is this rank's share
    of J = sum_i mean_j(w_ij l_ij). Only the folds ``parts`` of the target's samples are used.

    Attributes:
        losses: [R], l_r.
        shares: [R], 1 / n_r.
    """

    def __init__(
        self,
        target: list[Samples],
        auxiliary: list[Samples],
        totals: Totals,
        parts: Sequence[int],
        *,
        cosines: Tensor,
        layout: Layout,
        group: ProcessGroup,
        per_sample: bool,
        derivative: Derivative,
    ) -> None:
        self._layout, self._group, self._derivative = layout, group, derivative
        self._places = [list(parts)] + [[totals.parts + number] for number in range(len(auxiliary))]
        every = [*target, *auxiliary]
        self._single = [not per_sample or every[places[0]].summed for places in self._places]
        self.losses = torch.cat(self._rows([samples.losses for samples in every]))
        rows = [len(part) for part in self._rows([samples.losses.detach() for samples in every])]
        device = self.losses.device
        task = torch.arange(len(rows), device=device).repeat_interleave(torch.tensor(rows, device=device))
        shares = totals.shares(parts)
        mean_loss, mean_label = totals.means(shares)
        self.shares = shares.amax(1)[task]
        single = torch.tensor(self._single, device=device)[task]
        labels = self._rows([samples.labels for samples in every])
        self.signals = Signals(
            task,
            torch.where(single, mean_loss[task], self.losses.detach()),
            torch.where(single, mean_label[task], torch.cat(labels).to(self.losses)),
            cosines,
        )
        self.scale = torch.where(single, 1 / group.world_size, self.shares)

    def _rows(self, values: list[Tensor]) -> list[Tensor]:
        """Return for each task one row per sample, or their sum."""
        taken = [torch.cat([values[place] for place in places]) for places in self._places]
        return [part.sum().reshape(1) if one else part for part, one in zip(taken, self._single, strict=True)]

    def gradient(self, weights: Tensor, head_weights: Tensor) -> Tensor:  # noqa: ARG002 - heads see the rows' weights
        """Return the weighted gradient as a flat vector of all parameters, summed over ranks; weights: [R]."""
        joint = (weights * self.shares * self.losses).sum()
        return self._group.all_reduce(flat_gradient(joint, self._layout.parameters))

    def directional_derivatives(self, direction: Tensor) -> Tensor:
        """Return [R]: directional derivatives of the rows' shares of the tasks' mean losses along ``direction``."""
        return torch.cat(self._rows(self._derivative(direction))) * self.shares

    def reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum over ranks of their partial values."""
        return self._group.all_reduce(tensor.clone())

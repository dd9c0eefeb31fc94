"""Adam's moments of the auxiliary tasks, one pair per task, for the shared parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from distgnn.auxiliary.task_gradients import Layout


class TaskMoments:
    """Maps gradients of K auxiliary tasks to the steps that Adam would take for each of them alone, with learning rate 1.

    Args:
        tasks: K.
        layout: Layout of the parameters.

    Attributes:
        optimiser: Adam of K vectors that are zero before every step; its state is the moments.
    """

    def __init__(self, tasks: int, layout: Layout) -> None:
        self._place = layout.shared[0].detach().new_zeros(tasks, layout.shared_size).requires_grad_()
        self.optimiser = torch.optim.Adam([self._place], lr=1.0, fused=True)

    def steps(self, gradients: Tensor) -> Tensor:
        """Return the steps [K, P] for ``gradients`` [K, P], to be subtracted from the parameters; updates the moments."""
        self._place.grad = gradients
        with torch.no_grad():
            self._place.zero_()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return -self._place.detach()

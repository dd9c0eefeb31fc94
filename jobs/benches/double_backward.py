"""First stage of AUX-TS by double backward: autograd differentiates through the look-ahead step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from distgnn.auxiliary.forward_pass import ForwardPass
from distgnn.auxiliary.hypergradient import Bound, WeightedGradients
from distgnn.auxiliary.problem import Samples
from distgnn.auxiliary.sample_gradients import WeightedSampleGradients
from distgnn.auxiliary.step import MultiTaskStep, StepRecord
from distgnn.auxiliary.task_gradients import cosines, flat_gradient
from distgnn.auxiliary.weighting import Signals


class DoubleBackwardStep(MultiTaskStep):
    """MultiTaskStep on one rank whose gradient of the weighting is computed by double backward.

    The signals are the same, from task gradients computed once.
    """

    def _learn_ahead(
        self,
        found: ForwardPass,
        others: Tensor | None,  # noqa: ARG002
        unseen: Any,  # noqa: ARG002
        number: int,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        losses = []
        for judge in self.batches.judges:
            parts = [part for part in range(self.batches.parts) if part != judge]
            losses.append(
                self._look_ahead_loss(self._joint_loss(found, found.weighted(parts), parts), found.batch, judge)
            )
        return torch.zeros(len(self.problem.names), device=losses[0].device), self._descend(losses)

    def _joint_loss(self, found: ForwardPass, weighted: WeightedGradients, parts: list[int]) -> Tensor:
        """Return sum_r w_r l_r / n_r, differentiable with respect to the model and the weighting."""
        raw = self.weighting(weighted.signals)
        if self.weighting.normalised:
            raw = raw / (raw * weighted.scale)[weighted.signals.task == 0].sum()
        if isinstance(weighted, WeightedSampleGradients):
            return (raw * weighted.shares * weighted.losses).sum()
        return (raw * torch.stack(_means([found.target[part] for part in parts], found.auxiliary))).sum()

    def _look_ahead_loss(self, joint: Tensor, batch: Any, judge: int) -> Tensor:
        """Return the target's mean loss on a part after a gradient step on the joint loss, differentiable through the step."""
        alpha = self.options.alpha or self.optimiser.param_groups[0]["lr"]
        bound, shifted = Bound(self.problem), set(map(id, self.layout.target_parameters))
        names = [name for name, parameter in bound.named_parameters() if id(parameter) in shifted]
        grads = torch.autograd.grad(joint, self.layout.target_parameters, create_graph=True, materialize_grads=True)
        shifted_parameters = [
            value - alpha * grad for value, grad in zip(self.layout.target_parameters, grads, strict=True)
        ]
        ahead = dict(zip(names, shifted_parameters, strict=True))
        samples = functional_call(bound, ahead, (self.problem.fold_losses, batch, judge))
        return samples.losses.sum() / samples.count

    def _descend(self, losses: list[Tensor]) -> Tensor:
        """Do one optimizer step of the weighting on the mean of ``losses``, and return the mean."""
        meta_loss = torch.stack(losses).mean()
        flat = flat_gradient(meta_loss, self._own)
        for parameter, part in zip(self._own, self.layout.pieces(flat, self._own), strict=True):
            parameter.grad = part
        if self._own_optimiser is not None:
            self._own_optimiser.step()
        return meta_loss.detach()


class AsWrittenStep(DoubleBackwardStep):
    """Algorithm 1 of AUX-TS line by line, for one weight per task.

    Losses and similarities are computed anew for each fold (lines 6-12) and again for the second stage (lines 14-19).
    """

    def step(self, number: int, batch: Any = None, unseen: Any = None, following: Sequence[Any] = ()) -> StepRecord:  # noqa: ARG002
        """See :class:`MultiTaskStep`; the record is empty."""
        batch = self.fetch(number) if batch is None else batch
        losses = []
        for judge in self.batches.judges:
            others = [part for part in range(self.batches.parts) if part != judge]
            losses.append(self._look_ahead_loss(self._weighted(batch, others), batch, judge))
        meta_loss = self._descend(losses)
        joint = self._weighted(batch, range(self.batches.parts))
        self._step(self._clipped(flat_gradient(joint, self.layout.parameters, keep=False), number))
        none = (math.nan,) * len(self.problem.names)
        return StepRecord(number, none, none, none, none, float(meta_loss))

    def _weighted(self, batch: Any, parts: Sequence[int]) -> Tensor:
        target, auxiliary = self.problem.losses(batch)
        means = _means([target[part] for part in parts], auxiliary)
        rows = torch.stack([flat_gradient(mean, self.layout.shared) for mean in means])
        tasks = torch.arange(len(means), device=rows.device)
        losses = torch.stack(means)
        signals = Signals(tasks, losses.detach(), torch.zeros_like(losses), cosines((rows @ rows.t()).unsqueeze(0)))
        return (self.weighting(signals) * losses).sum()


def _means(target: list[Samples], auxiliary: list[Samples]) -> list[Tensor]:
    """Return the mean losses of the tasks, the target first."""
    total = torch.stack([samples.losses.sum() for samples in target]).sum()
    count = torch.stack([samples.count for samples in target]).sum()
    return [total / count, *(samples.losses.sum() / samples.count for samples in auxiliary)]

"""AUX-TS's first stage as its formulas read: the look-ahead stays in the graph, and torch differentiates through it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from distgnn.transfer.gradients import flat_gradient
from distgnn.transfer.hypergradient import Bound, Mixture
from distgnn.transfer.meta import JointStep
from distgnn.transfer.passes import ForwardPass
from distgnn.transfer.sampled import SampleMixture


class DoubleBackwardStep(JointStep):
    """The same step with the same signals, on one rank; only the way to the weighting's gradient differs."""

    def _learn_ahead(self, found: ForwardPass, number: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        alpha = self.options.alpha or self.optimiser.param_groups[0]["lr"]
        bound, near = Bound(self.problem), set(map(id, self.layout.near))
        names = [name for name, parameter in bound.named_parameters() if id(parameter) in near]
        judges, losses = self.folds.judges, []
        for judge in judges:
            others = [part for part in range(self.folds.parts) if part != judge]
            joint = self._joint_loss(found, found.mixture(others), others)
            grads = torch.autograd.grad(joint, self.layout.near, create_graph=True, materialize_grads=True)
            moved = [value - alpha * grad for value, grad in zip(self.layout.near, grads, strict=True)]
            ahead = dict(zip(names, moved, strict=True))
            samples = functional_call(bound, ahead, (self.problem.fold_losses, found.batch, judge))
            losses.append(samples.losses.sum() / samples.count)
        meta_loss = torch.stack(losses).mean()
        flat = flat_gradient(meta_loss, self._own)
        for parameter, part in zip(self._own, self.layout.pieces(flat, self._own), strict=True):
            parameter.grad = part
        if self._own_optimiser is not None:
            self._own_optimiser.step()
        return torch.zeros(len(self.problem.names), device=flat.device, dtype=flat.dtype), meta_loss.detach()

    def _joint_loss(self, found: ForwardPass, mixture: Mixture, parts: list[int]) -> Tensor:
        """sum_r w_r l_r / n_r, differentiable with respect to the model and the weighting."""
        raw = self.weighting(mixture.signals)
        if self.weighting.normalised:
            raw = raw / (raw * mixture.scale)[mixture.signals.task == 0].sum()
        if isinstance(mixture, SampleMixture):
            return (raw * mixture.shares * mixture.losses).sum()
        target = torch.stack([found.target[part].losses.sum() for part in parts]).sum()
        sums = torch.stack([target, *(samples.losses.sum() for samples in found.auxiliary)])
        return (raw * found.totals.shares(parts).amax(1) * sums).sum()
